/* How the workers of a pool say that they have results: one board in shared memory.
 *
 * A worker sets its bit; the parent takes all bits at once, so it looks only at the
 * workers that have something.  A parent that is awake watches one word.  One that
 * sleeps has armed the doorbell first: the next worker with a result disarms it and
 * writes to the pool's eventfd, the others after it do not.
 *
 * Any thread of any of the processes; no locks, no Python thread state. */
#ifndef TDL_CORE_BOARD_H
#define TDL_CORE_BOARD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { TDL_BOARD_WORDS = 16, TDL_BOARD_WORKERS = 64 * TDL_BOARD_WORDS };

struct tdl_board {
    alignas(64) _Atomic uint32_t summary; /* which words of `ready` may have bits */
    _Atomic uint32_t armed;               /* ring the doorbell */
    int32_t owner;                        /* the pool's process; fixed after init */
    alignas(64) _Atomic uint64_t ready[TDL_BOARD_WORDS];
};

/* Worker `index` has something; what it wrote before is seen by whoever takes the bit.
 * Does not ring. */
void tdl_board_post(struct tdl_board *board, uint32_t index);

/* After tdl_board_post(): whether the caller has to ring the doorbell. */
bool tdl_board_should_ring(struct tdl_board *board);

/* Whether somebody may have something. */
static inline bool
tdl_board_is_ready(struct tdl_board *board)
{
    return atomic_load_explicit(&board->summary, memory_order_acquire) != 0;
}

/* Take all bits.  Returns whether there were any. */
bool tdl_board_take(struct tdl_board *board, uint64_t bits[TDL_BOARD_WORDS]);

/* Ask for the doorbell.  Returns false if somebody has something already: then it
 * may not ring. */
bool tdl_board_arm(struct tdl_board *board);

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
