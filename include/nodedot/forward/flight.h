/* flight.h - asking a flight's question until somebody answers or its time is up.
 *
 * Asking: once at the best address; at a second one when the answer is later than is usual there (a hedge, within its
 *         budget, see hedge.h); again elsewhere when a connection breaks, an address is found stalled, or after a
 *         second without an answer; FLIGHT_TRIES unanswered askings and a hedge, FLIGHT_ASKS in all. The first valid
 *         answer ends the flight.
 * Ends:   in forward_flush() or in the flight's own callbacks, never inside another flight's.
 */
#ifndef NODEDOT_FORWARD_FLIGHT_H
#define NODEDOT_FORWARD_FLIGHT_H

#include "nodedot/forward/upstream.h"

/* Asks a new flight's question at upstream. Returns false, without calling failed(), when no address can be asked and
 * none could for a while; the caller releases the flight then. */
bool forward_ask(struct forward *forward, struct flight *flight, struct upstream *upstream);

/* Asks once more at the best address. False: there is none, or it was asked often enough. */
bool flight_ask(struct flight *flight);

/* Is an asking out, or waiting for a connection? At this address? */
bool flight_is_out(const struct flight *flight);
bool flight_is_at(const struct flight *flight, const struct address *address);

/* One of its askings is over without an answer: asks again, or fails. */
void flight_lost_attempt(struct flight *flight);

/* Nobody waits for it any more: releases it without telling the owner. Not from an event. */
void flight_abandon(struct flight *flight);

/* The address answers nothing: asks elsewhere, if nobody else has the question. */
void flight_leave(struct flight *flight, const struct address *address);

/* Forgets what was asked, and asks the fallback of its group. */
void flight_fall_back(struct flight *flight);

/* Tells the owner that it failed, and releases it. */
void flight_fail(struct flight *flight, enum ede why);

/* Ends one asking, whatever its state; an answer to it will be dropped. */
void attempt_forget(struct attempt *attempt);

/* Counts an asking that was written. */
void attempt_count(struct attempt *attempt);

/* What the transports report: */

/* A message came whose ID matched. False: it is no answer to the question (it was counted); go on waiting. */
bool attempt_message(struct attempt *attempt, const uint8_t *message, size_t size);

/* The attempt's socket failed. */
void attempt_failed(struct attempt *attempt);

/* Writes the attempt's query as a message without length prefix, keepalive and padding as fits the transport. Returns
 * its size. */
size_t attempt_write(const struct attempt *attempt, uint8_t *out, size_t capacity);

#endif
