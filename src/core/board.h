/* How the workers of a pool say that they have results: one board in shared memory.
 *
 * A worker sets its bit; the parent takes all bits at once, so it looks only at the
 * workers that have something.  A parent that is awake watches one word.  One that
 * sleeps has armed the doorbell first: the next worker with a result disarms it and
 * writes to the pool's eventfd, the others after it do not.  A parent's thread that has
 * nothing else to do asks for a wake instead, and sleeps on the word itself.
 *
 * Any thread of any of the processes; no locks, no Python thread state. */
#ifndef TDL_CORE_BOARD_H
#define TDL_CORE_BOARD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { TDL_BOARD_WORDS = 16, TDL_BOARD_WORKERS = 64 * TDL_BOARD_WORDS };

enum tdl_board_request { TDL_BOARD_NOTHING, TDL_BOARD_RING, TDL_BOARD_WAKE };

struct tdl_board {
    alignas(64) _Atomic uint32_t summary; /* which words of `ready` may have bits */
    _Atomic uint32_t armed;               /* what to do for the parent: one of the above */
    int32_t owner;                        /* the pool's process; fixed after init */
    alignas(64) _Atomic uint64_t ready[TDL_BOARD_WORDS];
};

/* Worker `index` has something; what it wrote before is seen by whoever takes the bit.
 * Does not ring. */
void tdl_board_post(struct tdl_board *board, uint32_t index);

/* After tdl_board_post(): what the parent has asked for, which is the caller's to do and
 * nobody else's. */
enum tdl_board_request tdl_board_take_request(struct tdl_board *board);

/* After tdl_board_post(): as tdl_board_take_request(), a wake is done here.  Returns whether
 * the caller has to ring the doorbell. */
bool tdl_board_should_ring(struct tdl_board *board);

/* Whether somebody may have something. */
static inline bool
tdl_board_is_ready(struct tdl_board *board)
{
    return atomic_load_explicit(&board->summary, memory_order_acquire) != 0;
}

/* Take all bits.  Returns whether there were any. */
bool tdl_board_take(struct tdl_board *board, uint64_t bits[TDL_BOARD_WORDS]);

/* Ask for the doorbell, unless somebody has asked for something.  Returns false if somebody
 * has something already: then it may not ring. */
bool tdl_board_arm(struct tdl_board *board);

/* Ask for a wake of whoever sleeps on `armed` while it is TDL_BOARD_WAKE: in the place of
 * what was asked for before.  Returns false if somebody has something already. */
bool tdl_board_want_wake(struct tdl_board *board);

/* Wake who sleeps on `armed`. */
void tdl_board_kick(struct tdl_board *board);

static inline bool
tdl_board_is_armed(struct tdl_board *board)
{
    return atomic_load_explicit(&board->armed, memory_order_seq_cst) != 0;
}

/* The doorbell is not needed. */
static inline void
tdl_board_disarm(struct tdl_board *board)
{
    atomic_store_explicit(&board->armed, 0, memory_order_seq_cst);
}

#endif
