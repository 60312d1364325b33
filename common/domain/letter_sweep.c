/* letter_sweep: see letter_sweep.h. */
#include "domain/letter_sweep.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 100000, ROOM = 256 }; /* events for one walk along all letters; at first */

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* --- the walk ---------------------------------------------------------------------------- */

static void next_page(struct letter_sweep *s);

static void page_done(struct letter_sweep *s)
{
    if (s->got == QUEUE_LETTERS_MAX) {
        next_page(s);
        return;
    }
    s->n = 0;
    s->done(s->ctx);
}

static void dropped(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    (void)rc;
    (void)moved;
    (void)left;
    page_done(ctx);
}

static void drop_found(struct letter_sweep *s)
{
    const char *entries[QUEUE_LETTERS_MAX];
    for (size_t i = 0; i < s->nfound; i++)
        entries[i] = s->found[i];
    if (s->nfound)
        queue_letters_drop(s->queue, entries, s->nfound, dropped, s);
    else
        page_done(s);
}

static void got_letters(enum hl_rc rc, const struct queue_letter *letters, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct letter_sweep *s = ctx;
    (void)err;
    s->got = rc == HL_OK ? n : 0;
    s->nfound = 0;
    for (size_t i = 0; i < s->got; i++) {
        snprintf(s->before, sizeof(s->before), "%s", letters[i].entry);
        if (!letters[i].crawl && bsearch(letters[i].id, s->ids, s->n, sizeof(*s->ids), compare))
            snprintf(s->found[s->nfound++], QUEUE_ENTRY_MAX, "%s", letters[i].entry);
    }
    drop_found(s);
}

static void next_page(struct letter_sweep *s)
{
    queue_letters(s->queue, s->before, QUEUE_LETTERS_MAX, got_letters, s);
}

/* The place behind a letter, from where a walk meets that first. */
static void behind(const char *entry, char before[QUEUE_ENTRY_MAX])
{
    char *seq;
    unsigned long long ms = strtoull(entry, &seq, 10);
    snprintf(before, QUEUE_ENTRY_MAX, "%llu-%llu", ms, strtoull(seq + 1, NULL, 10) + 1);
}

bool letter_sweep_walk(struct letter_sweep *s, void (*done)(void *ctx), void *ctx)
{
    if (!*s->newest || !s->n)
        return false;
    s->done = done;
    s->ctx = ctx;
    qsort(s->ids, s->n, sizeof(*s->ids), compare);
    behind(s->newest, s->before);
    next_page(s);
    return true;
}

/* --- from the first event to the last ---------------------------------------------------- */

static void got_newest(enum hl_rc rc, const struct queue_letter *letters, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct letter_sweep *s = ctx;
    (void)err;
    if (rc == HL_OK && n)
        snprintf(s->newest, sizeof(s->newest), "%s", letters[0].entry);
    s->done(s->ctx);
}

void letter_sweep_begin(
    struct letter_sweep *s, struct queue *queue, void (*done)(void *ctx), void *ctx)
{
    *s = (struct letter_sweep){.queue = queue, .done = done, .ctx = ctx};
    queue_letters(queue, "", 1, got_newest, s);
}

bool letter_sweep_note(struct letter_sweep *s, const char *event_id)
{
    if (!*s->newest || strlen(event_id) != UUID_STRLEN)
        return false;
    if (s->n == s->room) {
        s->room = s->room ? s->room * 2 : ROOM;
        s->ids = mem_grow(s->ids, s->room * sizeof(*s->ids));
    }
    memcpy(s->ids[s->n++], event_id, UUID_STRLEN + 1);
    return s->n >= AT_ONCE;
}

void letter_sweep_release(struct letter_sweep *s)
{
    free(s->ids);
    *s = (struct letter_sweep){0};
}
