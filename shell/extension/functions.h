/* The SQL functions. */
#pragma once
#include "api.h"
#include "worker.h"

struct session *session_hold(struct session *session);
void session_release(void *session);
bool register_feed(handle connection, struct session *session);      /* feed.c */
bool register_functions(handle connection, struct session *session); /* functions.c */
