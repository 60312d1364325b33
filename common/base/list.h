/* list: intrusive, counted, doubly linked. A node sits in one list at a time; nodes are borrowed:
 * the list never allocates or frees. Zero-initialised node = in no list. */
#ifndef HL_BASE_LIST_H
#define HL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *prev, *next;
};

struct list {
    struct list_node head;
    size_t len;
};

#define LIST_OF(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->head.prev = l->head.next = &l->head;
    l->len = 0;
}

static inline bool list_linked(const struct list_node *n)
{
    return n->next != NULL;
}

static inline void list_push(struct list *l, struct list_node *n)
{
    n->prev = l->head.prev;
    n->next = &l->head;
    l->head.prev->next = n;
    l->head.prev = n;
    l->len++;
}

static inline void list_push_front(struct list *l, struct list_node *n)
{
    n->next = l->head.next;
    n->prev = &l->head;
    l->head.next->prev = n;
    l->head.next = n;
    l->len++;
}

static inline void list_remove(struct list *l, struct list_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->prev = n->next = NULL;
    l->len--;
}

static inline struct list_node *list_first(const struct list *l)
{
    return l->len ? l->head.next : NULL;
}

static inline struct list_node *list_last(const struct list *l)
{
    return l->len ? l->head.prev : NULL;
}

static inline struct list_node *list_next(const struct list *l, const struct list_node *n)
{
    return n->next == &l->head ? NULL : n->next;
}

static inline struct list_node *list_pop(struct list *l)
{
    struct list_node *n = list_first(l);
    if (n)
        list_remove(l, n);
    return n;
}

/* Moves every node of from to the end of to, in order. */
static inline void list_splice(struct list *to, struct list *from)
{
    for (struct list_node *n; (n = list_pop(from));)
        list_push(to, n);
}

/* Safe against removal of n inside the body. */
#define LIST_EACH(l, n)                                                                            \
    for (struct list_node *n = list_first(l), *n##_next = n ? list_next(l, n) : NULL; n;           \
         n = n##_next, n##_next = n ? list_next(l, n) : NULL)

#endif
