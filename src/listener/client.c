#include "nodedot/listener/client.h"

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
