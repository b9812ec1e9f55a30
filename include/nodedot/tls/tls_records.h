/* tls_records.h - between a socket and TLS: whole records in, whole flights out.
 *
 * In:     one recv(2) takes what is there; TLS is handed whole records only, so it never holds half of one and need
 * not be asked
 *         before one is complete.
 * Out:    what TLS makes is gathered and leaves with one send(2); what the socket does not take waits here.
 * Memory: RECORDS_RECEIVE octets, and as many as wait to be sent, RECORDS_SEND_MAX at most.
 */
#ifndef NODEDOT_TLS_TLS_RECORDS_H
#define NODEDOT_TLS_TLS_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RECORDS_HEADER   5              /* RFC 8446 section 5.1 */
#define RECORDS_BODY_MAX (16384 + 2048) /* RFC 5246 section 6.2.3, the larger of the two versions */
#define RECORDS_RECEIVE  (32 * 1024)    /* a whole record of any size, and room for the next ones */
#define RECORDS_SEND_MAX (256 * 1024)   /* for a peer that does not read; more breaks the connection */

enum records_result {
    RECORDS_DONE,
    RECORDS_AGAIN, /* when the socket is readable, or writable */
    RECORDS_ENDED, /* the peer ended the stream */
    RECORDS_FAILED /* errno says why: EMSGSIZE for a record that is too long, ENOBUFS past RECORDS_SEND_MAX, ENOMEM */
};

struct records {
    int fd;
    /* Received: in_size octets at in + in_at; record_left of the record that is being handed over. */
    uint8_t *in;
    size_t in_at, in_size, record_left;
    bool drained; /* the last recv(2) was short: another one now would find nothing */
    bool ended;
    /* To be sent: out_size octets at out + out_at. */
    uint8_t *out;
    size_t out_at, out_size, out_capacity;
};

/* False: out of memory. */
bool records_init(struct records *r, int fd);
void records_reset(struct records *r);

/* Makes sure that a whole record, or the rest of one, waits. At most one recv(2); after a short one the next call
 * returns RECORDS_AGAIN without a system call, so the socket must be watched level-triggered. */
enum records_result records_fetch(struct records *r);

/* The record that is handed over next, header included, and its size; it may be changed in place. NULL: there is no whole one,
 * or a part of it was handed over already. */
uint8_t *records_next(struct records *r, size_t *size);

/* Hands over up to capacity octets of the record that records_fetch() found. */
size_t records_take(struct records *r, uint8_t *out, size_t capacity);

/* Adds octets to what is to be sent. */
enum records_result records_add(struct records *r, const uint8_t *octets, size_t size);

/* Sends what waits. */
enum records_result records_flush(struct records *r);

#endif
