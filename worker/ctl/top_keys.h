/* top_keys: what a terminal sends when keys are pressed, as keys. Pure. */
#ifndef HL_WORKER_CTL_TOP_KEYS_H
#define HL_WORKER_CTL_TOP_KEYS_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes below 256 that are no controls are themselves: letters, and the parts of UTF-8. */
enum top_key {
    KEY_NONE = 0,
    KEY_TAB = '\t',
    KEY_ENTER = '\r',
    KEY_BACKSPACE = 0x7f,
    KEY_UP = 256,
    KEY_DOWN,
    KEY_LEFT,
    KEY_RIGHT,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
    KEY_HOME,
    KEY_END,
    KEY_BACKTAB,
    KEY_ESCAPE,
    KEY_PASTE, /* what follows was not typed, until KEY_PASTE_END */
    KEY_PASTE_END,
};

/* Zero-initialised. */
struct top_keys {
    unsigned char bytes[256];
    size_t n;
};
/* Takes what fits; what does not is dropped. */
void keys_feed(struct top_keys *k, const void *bytes, size_t n);
/* KEY_NONE: nothing is left, or the beginning of a sequence (keys_partial). */
int keys_next(struct top_keys *k);
/* The rest of a sequence may be on its way. A moment later, keys_flush says: it was the Escape key. */
bool keys_partial(const struct top_keys *k);
int keys_flush(struct top_keys *k);
/* What came and was not asked for yet. */
void keys_drop(struct top_keys *k);

#endif
