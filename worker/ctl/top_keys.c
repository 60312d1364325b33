/* top_keys: see top_keys.h. */
#include "worker/ctl/top_keys.h"

#include <string.h>

#define ESC          0x1b
#define MAX_SEQUENCE 32

void keys_feed(struct top_keys *k, const void *bytes, size_t n)
{
    size_t room = sizeof(k->bytes) - k->n;
    n = n < room ? n : room;
    memcpy(k->bytes + k->n, bytes, n);
    k->n += n;
}

static void drop(struct top_keys *k, size_t n)
{
    k->n -= n;
    memmove(k->bytes, k->bytes + n, k->n);
}

/* Bytes of the sequence at the beginning, ESC [ parameters letter or ESC O letter; 0 = not all of it
 * is there. */
static size_t sequence_length(const struct top_keys *k)
{
    size_t i = 2;
    if (k->n < 3)
        return 0;
    if (k->bytes[1] == 'O')
        return 3;
    while (i < k->n && k->bytes[i] >= 0x20 && k->bytes[i] < 0x40)
        i++;
    return i < k->n ? i + 1 : i >= MAX_SEQUENCE ? i : 0;
}

/* Of keys that nobody asked for: KEY_NONE. */
static int key_of(const unsigned char *sequence, size_t len)
{
    static const struct {
        const char *end; /* behind ESC [ or ESC O */
        int key;
    } known[] = {
        {"A",    KEY_UP       },
        {"B",    KEY_DOWN     },
        {"C",    KEY_RIGHT    },
        {"D",    KEY_LEFT     },
        {"H",    KEY_HOME     },
        {"F",    KEY_END      },
        {"Z",    KEY_BACKTAB  },
        {"M",    KEY_ENTER    },
        {"1~",   KEY_HOME     },
        {"4~",   KEY_END      },
        {"5~",   KEY_PAGE_UP  },
        {"6~",   KEY_PAGE_DOWN},
        {"7~",   KEY_HOME     },
        {"8~",   KEY_END      },
        {"200~", KEY_PASTE    },
        {"201~", KEY_PASTE_END},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strlen(known[i].end) == len - 2 && memcmp(sequence + 2, known[i].end, len - 2) == 0)
            return known[i].key;
    return KEY_NONE;
}

static bool begins_sequence(const struct top_keys *k)
{
    return k->bytes[0] == ESC && (k->n == 1 || k->bytes[1] == '[' || k->bytes[1] == 'O');
}

static int single(unsigned char byte)
{
    switch (byte) {
    case '\n': return KEY_ENTER;
    case '\b': return KEY_BACKSPACE;
    case ESC: return KEY_ESCAPE;
    default: return byte;
    }
}

int keys_next(struct top_keys *k)
{
    while (k->n) {
        size_t len = 1;
        int key;
        if (begins_sequence(k)) {
            len = sequence_length(k);
            if (!len)
                return KEY_NONE;
            key = key_of(k->bytes, len);
        } else {
            key = single(k->bytes[0]);
        }
        drop(k, len);
        if (key != KEY_NONE)
            return key;
    }
    return KEY_NONE;
}

bool keys_partial(const struct top_keys *k)
{
    return k->n > 0;
}

int keys_flush(struct top_keys *k)
{
    int key = k->n ? KEY_ESCAPE : KEY_NONE;
    k->n = 0;
    return key;
}

void keys_drop(struct top_keys *k)
{
    k->n = 0;
}
