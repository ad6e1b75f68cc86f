/* Threads that wait. */
#include "sync/party.h"

void
tdl_parked_init(struct tdl_parked *parked, SyncObject *owner, bool (*leave)(struct tdl_party *))
{
    parked->party =
        (struct tdl_party){.owner = owner, .leave = leave, .parked = &parked->waiter};
    tdl_waiter_init(&parked->waiter, false, NULL);
}

static bool
is_granted(struct tdl_parked *parked)
{
    bool granted;
    TDL_CRITICAL_BEGIN(parked->party.owner);
    granted = parked->party.wait.state == TDL_WAIT_GRANTED;
    TDL_CRITICAL_END();
    return granted;
}

int
tdl_parked_wait(struct tdl_parked *parked, int64_t deadline)
{
    int r = tdl_waiter_wait(&parked->waiter, NULL, deadline);
    if (r > 0)
        return 1;
    if (r == 0 && is_granted(parked)) {
        tdl_waiter_settle(&parked->waiter);
        return 1;
    }
    /* who granted still has to touch the parker, which is on our stack */
    if (parked->party.leave(&parked->party))
        tdl_waiter_settle(&parked->waiter);
    return r;
}
