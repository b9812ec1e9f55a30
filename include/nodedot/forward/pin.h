/* pin.h - `nodedot pin`: shows the chain that a server presents, or a PEM file holds, with its pins.
 *
 * This is no proof of identity: compare the pins with those that the server's operator publishes.
 */
#ifndef NODEDOT_FORWARD_PIN_H
#define NODEDOT_FORWARD_PIN_H

#include <stdio.h>

/* Connects to target (HOST[:PORT], port 853 unless given; an IPv6 address with port in brackets; HOST may be a name),
 * makes a TLS handshake with server_name (NULL: HOST where it is a name) and prints a table of the chain (pin, key,
 * dates, whether it really signed the one before, subject, issuer) and an [upstream] section ready to paste. Returns an
 * exit status: 0, 1 (one error line on errors), or 2 for a target that cannot be read. */
int pin_print_host(const char *target, const char *server_name, FILE *out, FILE *errors);

/* The same for the certificates of a PEM file. */
int pin_print_file(const char *file, FILE *out, FILE *errors);

#endif
