#include "core/board.h"

#include "core/futex.h"

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

enum tdl_board_request
tdl_board_take_request(struct tdl_board *board)
{
    if (atomic_load_explicit(&board->armed, memory_order_seq_cst) == TDL_BOARD_NOTHING)
        return TDL_BOARD_NOTHING;
    return atomic_exchange_explicit(&board->armed, TDL_BOARD_NOTHING, memory_order_seq_cst);
}

bool
tdl_board_should_ring(struct tdl_board *board)
{
    enum tdl_board_request request = tdl_board_take_request(board);
    if (request == TDL_BOARD_WAKE)
        tdl_futex_wake_shared(&board->armed, 1);
    return request == TDL_BOARD_RING;
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
    uint32_t nothing = TDL_BOARD_NOTHING;
    atomic_compare_exchange_strong_explicit(&board->armed, &nothing, TDL_BOARD_RING,
                                            memory_order_seq_cst, memory_order_seq_cst);
    return atomic_load_explicit(&board->summary, memory_order_seq_cst) == 0;
}

bool
tdl_board_want_wake(struct tdl_board *board)
{
    atomic_store_explicit(&board->armed, TDL_BOARD_WAKE, memory_order_seq_cst);
    return atomic_load_explicit(&board->summary, memory_order_seq_cst) == 0;
}

void
tdl_board_kick(struct tdl_board *board)
{
    uint32_t wake = TDL_BOARD_WAKE;
    atomic_compare_exchange_strong_explicit(&board->armed, &wake, TDL_BOARD_NOTHING,
                                            memory_order_seq_cst, memory_order_seq_cst);
    /* also if a worker has taken the request: it may be killed before it wakes */
    tdl_futex_wake_shared(&board->armed, 1);
}
