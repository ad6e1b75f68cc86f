#include "core/board.h"

void
tdl_board_post(struct tdl_board *board, uint32_t index)
{
    uint64_t bit = UINT64_C(1) << (index % 64);
    uint32_t word = index / 64 % TDL_BOARD_WORDS;
    atomic_thread_fence(memory_order_seq_cst);
    if ((atomic_load_explicit(&board->ready[word], memory_order_relaxed) & bit) == 0)
        atomic_fetch_or_explicit(&board->ready[word], bit, memory_order_seq_cst);
    /* whoever takes the bits clears the summary first, so it may be unset by now,
     * and a worker that was stopped before this line needs another to do it */
    if ((atomic_load_explicit(&board->summary, memory_order_seq_cst) & (1u << word)) == 0)
        atomic_fetch_or_explicit(&board->summary, 1u << word, memory_order_seq_cst);
}

bool
tdl_board_should_ring(struct tdl_board *board)
{
    return atomic_load_explicit(&board->armed, memory_order_seq_cst) != 0 &&
           atomic_exchange_explicit(&board->armed, 0, memory_order_seq_cst) != 0;
}

bool
tdl_board_take(struct tdl_board *board, uint64_t bits[TDL_BOARD_WORDS])
{
    uint64_t all = 0;
    uint32_t words = atomic_exchange_explicit(&board->summary, 0, memory_order_seq_cst);
    for (int i = 0; i < TDL_BOARD_WORDS; i++) {
        bits[i] = 0;
        if (words & (1u << i))
            bits[i] = atomic_exchange_explicit(&board->ready[i], 0, memory_order_seq_cst);
        all |= bits[i];
    }
    return all != 0;
}

bool
tdl_board_arm(struct tdl_board *board)
{
    atomic_store_explicit(&board->armed, 1, memory_order_seq_cst);
    return atomic_load_explicit(&board->summary, memory_order_seq_cst) == 0;
}
