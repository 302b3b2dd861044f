/*
 * strands: shared data without locks in a loop of several threads.
 *
 * Shown: the callbacks of requests with the same strand never run at the same time, and those of ticks run in
 * the order of their submits. So what belongs to a strand needs no lock and no atomics, while callbacks of
 * different strands, here of different accounts, run side by side. (In threads.c callbacks share counters,
 * which hence are atomic.)
 *
 * Each account gets transfers numbered from 1 on. A transfer that ran beside another of its account, or
 * before its turn, would leave a wrong balance or a wrong number behind.
 */
#include <loop.h>

#include <stdbool.h>
#include <stdio.h>

enum { THREADS = 4, ACCOUNTS = 8, TRANSFERS = 5000 };

/* Plain variables: only callbacks in the strand touch them. */
typedef struct account {
    loop_strand_t strand;
    uint64_t      balance;
    unsigned      last_transfer;
    bool          disordered;
} account_t;

typedef struct transfer {
    loop_request_t request;
    account_t     *account;
    unsigned       number;
} transfer_t;

static account_t  accounts[ACCOUNTS];
static transfer_t transfers[ACCOUNTS][TRANSFERS];

static void on_tick(loop_t *loop, loop_request_t *request, int64_t result) {
    transfer_t *transfer = request->user;
    account_t  *account = transfer->account;
    (void)loop;
    if (result != 0 || transfer->number != account->last_transfer + 1) account->disordered = true;
    account->last_transfer = transfer->number;
    account->balance += transfer->number;
}

static int submit(loop_t *loop, account_t *account, transfer_t *transfer, unsigned number) {
    transfer->request.user = transfer;
    transfer->account = account;
    transfer->number = number;
    int error = loop_set_strand(&transfer->request, &account->strand);
    return error < 0 ? error : loop_on_next_tick(loop, &transfer->request, on_tick);
}

int main(void) {
    loop_t  *loop;
    bool     good = true;
    uint64_t expected = (uint64_t)TRANSFERS * (TRANSFERS + 1) / 2;
    if (loop_init_thread_pool(&loop, THREADS) < 0) return 1;
    for (unsigned number = 1; number <= TRANSFERS; number++)
        for (unsigned i = 0; i < ACCOUNTS; i++)
            if (submit(loop, &accounts[i], &transfers[i][number - 1], number) < 0) return 1;
    if (loop_run(loop) < 0 || loop_deinit(loop) < 0) return 1;

    for (unsigned i = 0; i < ACCOUNTS; i++) {
        const account_t *account = &accounts[i];
        printf("account %u: %u transfers, balance %llu%s\n", i, account->last_transfer,
               (unsigned long long)account->balance, account->disordered ? ", out of order" : "");
        good = good && account->balance == expected && account->last_transfer == TRANSFERS &&
               !account->disordered;
    }
    return good ? 0 : 1;
}
