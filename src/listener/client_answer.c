#include "nodedot/listener/client_answer.h"

#include "nodedot/listener/tcp.h"
#include "nodedot/listener/udp.h"

uint8_t *client_begin(const struct client *client, size_t *capacity)
{
    if (client->udp != NULL)
        return udp_begin(client->udp, capacity);
    return tcp_begin(client->tcp, client->serial, capacity);
}

void client_commit(const struct client *client, size_t size)
{
    if (client->udp != NULL)
        udp_commit(client->udp, client, size);
    else
        tcp_commit(client->tcp, size);
}

/* What a listening socket tells of the address that was asked. */
static void take_known(const struct endpoint *listen, struct endpoint *out)
{
    if (!endpoint_is_wildcard(listen))
        *out = *listen;
}

void client_local(const struct client *client, struct endpoint *out)
{
    *out = client->local;
    if (client->local.size != 0)
        endpoint_set_port(out, endpoint_port(client->udp->endpoint)); /* the kernel tells the address alone */
    else if (client->udp != NULL)
        take_known(client->udp->endpoint, out);
    else if (client->tcp->serial == client->serial)
        take_known(&client->tcp->listener->listens[client->tcp->socket], out);
}
