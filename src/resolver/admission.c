#include "nodedot/resolver/admission.h"

#include "nodedot/base/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Tokens are counted in thousandths, so that a millisecond adds client-qps of them. */
#define TOKEN 1000
/* Sets that share a mutex: few enough mutexes, and workers that seldom wait for each other. */
#define STRIPES 64

struct bucket {
    uint8_t client[ENDPOINT_CLIENT]; /* endpoint_client_key() */
    int64_t tokens;                  /* answers that it may have; up to burst */
    int64_t refusals;                /* refusals that it may have besides; up to burst */
    uint64_t filled_ms;              /* when both were right; 0: free */
    uint64_t blocked_until_ms;
};

struct admission {
    const struct config *config;
    bool everybody; /* the ACL lets all in */
    bool limited;
    int64_t burst;
    struct hash_key key;
    pthread_mutex_t stripes[STRIPES];
    struct bucket *buckets;   /* ADMISSION_SETS * ADMISSION_WAYS */
    struct bucket *strangers; /* one a set, worth ADMISSION_WAYS clients */
};

static bool list_has(const struct access_list *list, const struct endpoint *client)
{
    for (size_t i = 0; i < list->count; i++) {
        if (network_contains(&list->networks[i], client))
            return true;
    }
    return false;
}

bool admission_allows(const struct admission *admission, const struct endpoint *client)
{
    return admission->everybody ||
           (!list_has(&admission->config->deny, client) && list_has(&admission->config->allow, client));
}

static bool allows_everybody(const struct config *config)
{
    bool v4 = false;
    bool v6 = false;

    for (size_t i = 0; i < config->allow.count; i++) {
        const struct network *network = &config->allow.networks[i];

        v4 = v4 || (!network->v6 && network->bits == 0);
        v6 = v6 || (network->v6 && network->bits == 0);
    }
    return v4 && v6 && config->deny.count == 0;
}

struct admission *admission_create(const struct config *config)
{
    struct admission *admission = calloc(1, sizeof(*admission));
    uint32_t burst = config->client_burst != 0 ? config->client_burst : config->client_qps;

    if (admission == NULL)
        return NULL;
    admission->config = config;
    admission->everybody = allows_everybody(config);
    admission->limited = config->client_qps != 0;
    admission->burst = (int64_t)burst * TOKEN;
    hash_key_random(&admission->key);
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_init(&admission->stripes[i], NULL);
    if (admission->limited) {
        admission->buckets = calloc((size_t)ADMISSION_SETS * ADMISSION_WAYS, sizeof(struct bucket));
        admission->strangers = calloc(ADMISSION_SETS, sizeof(struct bucket));
    }
    if (admission->limited && (admission->buckets == NULL || admission->strangers == NULL)) {
        admission_destroy(admission);
        return NULL;
    }
    return admission;
}

void admission_destroy(struct admission *admission)
{
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&admission->stripes[i]);
    free(admission->buckets);
    free(admission->strangers);
    free(admission);
}

bool admission_is_open(const struct admission *admission)
{
    return admission->everybody && !admission->limited;
}

static int64_t filled(int64_t tokens, int64_t more, int64_t full)
{
    return tokens + more > full ? full : tokens + more;
}

/* Adds the tokens for the elapsed time, for this many clients. */
static void refill(const struct admission *admission, struct bucket *bucket, uint64_t now_ms, unsigned clients)
{
    uint64_t enough = (uint64_t)admission->burst / admission->config->client_qps + 1; /* from empty to full */
    uint64_t passed = now_ms - bucket->filled_ms;
    int64_t more = (int64_t)(passed < enough ? passed : enough) * admission->config->client_qps;

    if (now_ms <= bucket->filled_ms)
        return; /* another thread's clock was read a moment later */
    bucket->filled_ms = now_ms;
    bucket->tokens = filled(bucket->tokens, clients * more, clients * admission->burst);
    bucket->refusals = filled(bucket->refusals, clients * more, clients * admission->burst);
}

/* Would anything be forgotten that matters? Its tokens are right. */
static bool may_be_replaced(const struct admission *admission, const struct bucket *bucket, uint64_t now_ms)
{
    return bucket->filled_ms == 0 || (bucket->blocked_until_ms <= now_ms && bucket->tokens > admission->burst / 2);
}

/* The client's bucket; a new one is full. NULL: it is a stranger. Its mutex is held by the caller. */
static struct bucket *find_bucket(struct admission *admission, struct bucket *set,
                                  const uint8_t client[ENDPOINT_CLIENT], uint64_t now_ms)
{
    struct bucket *victim = NULL;

    for (int i = 0; i < ADMISSION_WAYS; i++) {
        struct bucket *bucket = &set[i];

        if (bucket->filled_ms != 0 && memcmp(bucket->client, client, ENDPOINT_CLIENT) == 0) {
            refill(admission, bucket, now_ms, 1);
            return bucket;
        }
        if (bucket->filled_ms != 0)
            refill(admission, bucket, now_ms, 1);
        else
            bucket->tokens = admission->burst;
        if (may_be_replaced(admission, bucket, now_ms) && (victim == NULL || bucket->tokens > victim->tokens))
            victim = bucket;
    }
    if (victim == NULL)
        return NULL;
    memcpy(victim->client, client, ENDPOINT_CLIENT);
    victim->tokens = admission->burst;
    victim->refusals = admission->burst;
    victim->filled_ms = now_ms;
    victim->blocked_until_ms = 0;
    return victim;
}

/* What those who found no room in a set share. A new one is full. */
static struct bucket *stranger_bucket(const struct admission *admission, uint64_t set, uint64_t now_ms)
{
    struct bucket *bucket = &admission->strangers[set];

    if (bucket->filled_ms == 0)
        *bucket = (struct bucket){.tokens = ADMISSION_WAYS * admission->burst,
                                  .refusals = ADMISSION_WAYS * admission->burst,
                                  .filled_ms = now_ms};
    refill(admission, bucket, now_ms, ADMISSION_WAYS);
    return bucket;
}

static enum admission_verdict spend(struct bucket *bucket)
{
    if (bucket->tokens >= TOKEN) {
        bucket->tokens -= TOKEN;
        return ADMISSION_GRANTED;
    }
    if (bucket->refusals >= TOKEN) {
        bucket->refusals -= TOKEN;
        return ADMISSION_REFUSED;
    }
    return ADMISSION_DROPPED;
}

/* Judges a client that has a bucket of its own. */
static enum admission_verdict judge(const struct admission *admission, struct bucket *bucket, uint64_t now_ms,
                                    bool connection)
{
    enum admission_verdict verdict;

    if (bucket->blocked_until_ms > now_ms)
        return ADMISSION_BLOCKED;
    verdict = connection ? ADMISSION_GRANTED : spend(bucket);
    if (verdict == ADMISSION_DROPPED && admission->config->client_block != 0)
        bucket->blocked_until_ms = now_ms + (uint64_t)admission->config->client_block * 1000;
    return verdict;
}

static enum admission_verdict check_rate(struct admission *admission, const struct endpoint *client, bool proven,
                                         uint64_t now_ms, bool connection)
{
    enum admission_verdict verdict = ADMISSION_GRANTED;
    uint8_t key[ENDPOINT_CLIENT];
    uint64_t set;
    struct bucket *bucket;

    endpoint_client_key(client, &admission->config->client_prefix, proven, key);
    set = hash_keyed(&admission->key, key, sizeof(key)) % ADMISSION_SETS;
    pthread_mutex_lock(&admission->stripes[set % STRIPES]);
    bucket = find_bucket(admission, &admission->buckets[set * ADMISSION_WAYS], key, now_ms);
    if (bucket != NULL)
        verdict = judge(admission, bucket, now_ms, connection);
    else if (!connection)
        verdict = spend(stranger_bucket(admission, set, now_ms));
    pthread_mutex_unlock(&admission->stripes[set % STRIPES]);
    return verdict;
}

enum admission_verdict admission_check(struct admission *admission, const struct endpoint *client, bool proven,
                                       uint64_t now_ms)
{
    return admission->limited ? check_rate(admission, client, proven, now_ms, false) : ADMISSION_GRANTED;
}

enum admission_verdict admission_check_connection(struct admission *admission, const struct endpoint *client,
                                                  uint64_t now_ms)
{
    if (!admission_allows(admission, client))
        return ADMISSION_OUTSIDE;
    return admission->limited ? check_rate(admission, client, false, now_ms, true) : ADMISSION_GRANTED;
}

/* Only this many sets at a time: queries of their clients wait meanwhile. */
static uint32_t blocked_in_stripe(struct admission *admission, size_t stripe, uint64_t now_ms)
{
    uint32_t count = 0;

    pthread_mutex_lock(&admission->stripes[stripe]);
    for (size_t set = stripe; set < ADMISSION_SETS; set += STRIPES) {
        for (size_t way = 0; way < ADMISSION_WAYS; way++)
            count += admission->buckets[set * ADMISSION_WAYS + way].blocked_until_ms > now_ms;
    }
    pthread_mutex_unlock(&admission->stripes[stripe]);
    return count;
}

uint32_t admission_blocked(struct admission *admission, uint64_t now_ms)
{
    uint32_t count = 0;

    if (!admission->limited || admission->config->client_block == 0)
        return 0;
    for (size_t stripe = 0; stripe < STRIPES; stripe++)
        count += blocked_in_stripe(admission, stripe, now_ms);
    return count;
}
