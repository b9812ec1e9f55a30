/* bench.h - what the bench tools share: clock, random numbers, command line numbers and the one question they ask.
 *
 * Every query is "nXXXXXXXX.example.com. IN A" without EDNS, as a C library asks it; XXXXXXXX is a number in hex. All
 * have the same length, so the number alone tells which answer is expected. Times are CLOCK_MONOTONIC nanoseconds.
 */
#ifndef NODEDOT_BENCH_H
#define NODEDOT_BENCH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DNS_HEADER = 12,   /* octets, RFC 1035 section 4.1.1 */
    QUESTION_LEN = 27, /* octets: QNAME 1+9+1+7+1+3+1, QTYPE 2, QCLASS 2 */
    QUERY_LEN = DNS_HEADER + QUESTION_LEN,
    SOCKET_BUFFER = 4 << 20, /* octets: the tool must never be the one that drops */
    TCP_BACKLOG = 1024,      /* connections: all of a run's are opened at once */
};

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

/* What a message is to the query that it is taken for. */
enum verdict {
    VERDICT_GOOD,
    VERDICT_WRONG,     /* too short, a query, or another question */
    VERDICT_RCODE,     /* an RCODE that is not NOERROR */
    VERDICT_TRUNCATED, /* TC */
    VERDICT_EMPTY,     /* no answer record: what an echo gives */
};

/* Prints "tool: what: reason of errno" (without the reason if errno is 0) and exits 1. */
void die(const char *what) __attribute__((noreturn));

uint64_t now_ns(void);

/* Next number of a fixed sequence (xorshift64*); *state must not be 0. The same seed gives the same run. */
uint64_t random_next(uint64_t *state);

/* The decimal number in [0, most] that text holds; exits 2, naming the argument `what`, when it is none. */
uint64_t number_argument(const char *what, const char *text, uint64_t most);

/* 127.0.0.1:port, the only host that these tools talk to. */
struct sockaddr_in loopback(uint16_t port);

uint16_t get_u16(const uint8_t *at);
void put_u16(uint8_t *at, uint16_t value);

/* Writes the QUERY_LEN octets of query number `number` to out. */
void query_write(uint8_t *out, uint16_t id, uint32_t number);

/* Judges a message against query `number`; its ID is the caller's business. */
enum verdict answer_judge(const uint8_t *message, size_t len, uint32_t number);

#endif
