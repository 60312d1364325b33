/* The intrusive list: order, membership, counting, removal during a walk. */
#include "base/list.h"

#include <criterion/criterion.h>

struct item {
    char name;
    struct list_node node;
};

static struct item items[5] = {
    {.name = 'a'}, {.name = 'b'}, {.name = 'c'}, {.name = 'd'}, {.name = 'e'}};

static void expect_order(struct list *l, const char *want)
{
    char got[16];
    size_t n = 0;
    LIST_EACH(l, node)
    got[n++] = LIST_OF(node, struct item, node)->name;
    got[n] = '\0';
    cr_expect_str_eq(got, want);
    cr_expect_eq(l->len, n);
}

Test(list, an_empty_list_has_nothing)
{
    struct list l;
    list_init(&l);
    cr_expect_null(list_first(&l));
    cr_expect_null(list_last(&l));
    cr_expect_null(list_pop(&l));
    cr_expect_eq(l.len, 0);
    expect_order(&l, "");
}

Test(list, nodes_keep_their_order_and_know_their_membership)
{
    struct list l;
    list_init(&l);
    cr_expect_not(list_linked(&items[1].node));
    list_push(&l, &items[1].node);
    list_push(&l, &items[2].node);
    list_push_front(&l, &items[0].node);
    cr_expect(list_linked(&items[1].node));
    expect_order(&l, "abc");
    cr_expect_eq(list_first(&l), &items[0].node);
    cr_expect_eq(list_last(&l), &items[2].node);
    cr_expect_eq(list_next(&l, &items[0].node), &items[1].node);
    cr_expect_null(list_next(&l, &items[2].node));

    list_remove(&l, &items[1].node);
    cr_expect_not(list_linked(&items[1].node));
    expect_order(&l, "ac");
    list_push(&l, &items[1].node);
    expect_order(&l, "acb");
    while (list_pop(&l)) /* the nodes outlive the list */
        ;
}

Test(list, pop_takes_from_the_front_until_empty)
{
    struct list l;
    list_init(&l);
    for (int i = 0; i < 5; i++)
        list_push(&l, &items[i].node);
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(list_pop(&l), &items[i].node);
        cr_expect_not(list_linked(&items[i].node));
        cr_expect_eq(l.len, (size_t)(4 - i));
    }
    cr_expect_null(list_pop(&l));
}

Test(list, a_walk_survives_the_removal_of_what_it_visits)
{
    struct list l;
    list_init(&l);
    for (int i = 0; i < 5; i++)
        list_push(&l, &items[i].node);
    LIST_EACH(&l, node)
    if (LIST_OF(node, struct item, node)->name % 2)
        list_remove(&l, node);
    expect_order(&l, "bd");
    LIST_EACH(&l, node)
    list_remove(&l, node);
    expect_order(&l, "");
}

Test(list, splice_moves_everything_to_the_end)
{
    struct list to, from;
    list_init(&to);
    list_init(&from);
    list_splice(&to, &from);
    expect_order(&to, "");
    list_push(&to, &items[0].node);
    list_push(&from, &items[1].node);
    list_push(&from, &items[2].node);
    list_splice(&to, &from);
    expect_order(&to, "abc");
    expect_order(&from, "");
    while (list_pop(&to)) /* the nodes outlive the list */
        ;
}
