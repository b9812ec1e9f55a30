/* Prints what getaddrinfo() finds for a name, a line each: tells how a libc that it is linked with resolves. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found;
    int result = argc == 2 ? getaddrinfo(argv[1], NULL, &hints, &found) : EAI_NONAME;
    char text[NI_MAXHOST];

    if (result != 0) {
        fprintf(stderr, "lookup: %s\n", gai_strerror(result));
        return 1;
    }
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next)
        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
            puts(text);
    freeaddrinfo(found);
    return 0;
}
