/* ring.h - one shard of the cache: a ring of records and an index from hash to position.
 *
 * Records are appended at the head. The tail moves up before the head would overwrite it; the record there is
 * dropped, or, if it was used since it was written and wanted is true for it, moved to the head. Nothing is
 * fragmented or freed. Positions are a lap and a word within the lap, as one number that only grows and never wraps
 * in practice (38 bits of laps): a reader copies a record word by word, then checks that the tail has not passed
 * its position meanwhile; only then are the octets good. A record never crosses the end of the memory.
 *
 * Index:  buckets of eight 64-bit entries (one cache line); each hash has two buckets. An entry is a tag, a used
 *         bit and a position; it is read and changed as one word. Entries whose position is not between tail and
 *         head are free, so nothing needs to be wiped to format or clear a ring, and no page is touched for it.
 * Shared: any number of readers in any process, one writer at a time (the caller holds the shard's mutex).
 * Trust:  the geometry follows from the size alone and is kept outside the shared memory. Whatever stands there, a
 *         record's lengths are checked before use, so corrupted memory gives a miss or an emptied ring, not a
 *         fault.
 */
#ifndef NODEDOT_CACHE_RING_H
#define NODEDOT_CACHE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring_state; /* the shared header: head, tail, counters */

/* One thread's view of a ring. */
struct ring {
    struct ring_state *state;
    _Atomic uint64_t *index; /* bucket_count times eight entries */
    _Atomic uint64_t *words; /* word_count words of records */
    uint32_t bucket_count;
    uint32_t word_count;
};

/* Is the record at record (size octets) still worth having? Asked about records that can be found and have to leave:
 * one that is wanted and was used moves to the head; one that is wanted and lost counts as an eviction. */
typedef bool ring_wanted(void *context, const uint8_t *record, size_t size);

/* Octets of memory that one ring needs at least, and can use at most. */
#define RING_MIN_SIZE ((size_t)128 * 1024)
#define RING_MAX_SIZE ((size_t)512 * 1024 * 1024)

/* Sets up a view of size octets at memory (64-octet aligned; size a multiple of 64 within the limits above). */
void ring_open(struct ring *ring, void *memory, size_t size);

/* Makes an empty ring of memory with any content. Before any other thread sees it. */
void ring_format(struct ring *ring);

/* Largest record that this ring takes. */
size_t ring_max_record(const struct ring *ring);

/* Asks the CPU to fetch the line of the index where hash most likely is. */
void ring_prefetch_index(const struct ring *ring, uint64_t hash);

/* Candidates for a hash: up to 16 positions, as a rule 0 or 1. A reader walks them and compares its key. */
struct ring_cursor {
    const struct ring *ring;
    uint64_t hash;
    unsigned next;
    uint64_t entry;    /* the current candidate's index entry */
    uint64_t position; /* and where its record begins */
    size_t size;       /* octets of that record */
};
struct ring_cursor ring_find(const struct ring *ring, uint64_t hash);

/* Moves to the next candidate. False: no more. */
bool ring_next(struct ring_cursor *cursor);

/* Copies size octets from offset within the current candidate's record to out, and says whether they are good (the
 * record was not overwritten meanwhile). out needs no alignment. Offsets that are multiples of 8 are the quick ones. */
bool ring_copy(const struct ring_cursor *cursor, size_t offset, void *out, size_t size);

/* Sets the current candidate's used bit, unless the entry has changed meanwhile. Returns whether it was set before. */
bool ring_mark_used(struct ring_cursor *cursor);

/* Puts another word at offset (a multiple of 8) of the current candidate's record, at once for every reader. Writer
 * only. False: there is no whole word. */
bool ring_set_word(const struct ring_cursor *cursor, size_t offset, uint64_t word);

/* Appends a record for hash. replaces: cursor at the record with the same key that it takes the place of, or NULL.
 * scratch holds ring_max_record() octets. Writer only. False: too large. */
bool ring_append(struct ring *ring, uint64_t hash, const void *record, size_t size, const struct ring_cursor *replaces,
                 ring_wanted *wanted, void *context, uint8_t *scratch);

/* Drops everything. Writer only; readers that are at it find nothing good any more. */
void ring_clear(struct ring *ring);

/* Makes every look-up a miss and the next ring_append() begin with ring_clear(). For a ring whose mutex cannot be had.
 */
void ring_distrust(struct ring *ring);

/* Entries that can be found now, and wanted records lost since ring_format(). */
uint64_t ring_entries(const struct ring *ring);
uint64_t ring_evictions(const struct ring *ring);

#endif
