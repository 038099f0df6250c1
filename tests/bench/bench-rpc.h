/* Varlink calls as bytes, written and read by the caller itself, so that only the other side's work
 * differs. */
#pragma once

#include <stddef.h>

#define RPC_GET_INFO "{\"method\":\"org.varlink.service.GetInfo\"}" /* the final NUL goes along */

/* Sends one message and receives the answer; its length, NUL included. */
size_t rpc_call(int fd, const void *message, size_t n);
/* n_calls of them, each sent by itself, several unanswered. */
void rpc_pipeline(int fd, const void *message, size_t n, size_t n_calls);
/* A process that answers every NUL-terminated message with the same `n_answer` bytes, by poll, read
 * and write alone; it ends when the other side closes. The descriptor to talk to it. */
int rpc_bounce(const void *answer, size_t n_answer);
