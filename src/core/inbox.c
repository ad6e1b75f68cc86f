#include "core/inbox.h"

#include <errno.h>
#include <stddef.h>

int
tdl_inbox_post(struct tdl_inbox *inbox, struct tdl_item *item)
{
    uintptr_t head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    do {
        if (head == TDL_INBOX_CLOSED)
            return -ESHUTDOWN;
        item->next = head <= TDL_INBOX_CLOSED ? NULL : (struct tdl_item *)head;
        /* release: the owner sees the item's content; acquire: the poster sees
         * all that the owner did before it left the mark found here */
    } while (!atomic_compare_exchange_weak_explicit(
        &inbox->head, &head, (uintptr_t)item, memory_order_acq_rel, memory_order_relaxed));
    return head == TDL_INBOX_ARMED;
}

static struct tdl_item *
oldest_first(uintptr_t head)
{
    if (head <= TDL_INBOX_CLOSED)
        return NULL;
    struct tdl_item *newer = NULL;
    struct tdl_item *item = (struct tdl_item *)head;
    while (item->next != NULL) {
        struct tdl_item *older = item->next;
        item->next = newer;
        newer = item;
        item = older;
    }
    item->next = newer;
    return item;
}

struct tdl_item *
tdl_inbox_drain(struct tdl_inbox *inbox, enum tdl_inbox_mark mark)
{
    uintptr_t head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    /* only the owner closes, so a closed inbox cannot be reopened by the
     * exchange; and a mark that stands already need not be written again */
    if (head == TDL_INBOX_CLOSED || head == (uintptr_t)mark)
        return NULL;
    return oldest_first(
        atomic_exchange_explicit(&inbox->head, (uintptr_t)mark, memory_order_acq_rel));
}

struct tdl_item *
tdl_inbox_close(struct tdl_inbox *inbox)
{
    return oldest_first(
        atomic_exchange_explicit(&inbox->head, TDL_INBOX_CLOSED, memory_order_acq_rel));
}
