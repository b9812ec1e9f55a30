/* hash.h - keyed hash for tables whose keys come from the network.
 *
 * SipHash-1-3 (Aumasson and Bernstein, 2012): without the key, an attacker cannot choose names of one bucket.
 */
#ifndef NODEDOT_BASE_HASH_H
#define NODEDOT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
    uint64_t word[2];
};

/* Fills key from the kernel's random source. Never fails: without randomness the process ends. */
void hash_key_random(struct hash_key *key);

/* Hashes size bytes at data. */
uint64_t hash_keyed(const struct hash_key *key, const void *data, size_t size);

/* The same with SipHash-2-4, for values that others may try to forge: an attacker who sees hashes and their inputs
 * still cannot make one. */
uint64_t hash_siphash_2_4(const struct hash_key *key, const void *data, size_t size);

#endif
