/*
 * Nobody starves: one block, on which others write again and again. Writer 1
 * arrives once, in the middle of it all; whatever the others do, it is done in
 * the end. Each waits for those that were there when it arrived, and for
 * nobody else: see wait.pml.
 *
 * Broken variant, which must be rejected:
 *   BARGING        waits until nobody is at work instead: newcomers may always
 *                  get there first
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef WRITERS
#define WRITERS 3
#endif

bool here[WRITERS + 1];         /* arrived, and has not left */
bool at_work[WRITERS + 1];
bool waits_for[(WRITERS + 1) * (WRITERS + 1)];  /* [who * .. + whom] */
#define WAITS(who, whom) waits_for[(who) * (WRITERS + 1) + (whom)]
bool arrived, served;           /* writer 1 */

inline arrive(me) {
    d_step {                    /* the tracker's lock */
        here[me] = true;
        w = 1;
        do
        :: w <= WRITERS -> WAITS(me, w) = (w != me && here[w]); w++
        :: else -> break
        od;
        w = 0;
        arrived = arrived || me == 1
    }
}

inline wait(me) {
#ifdef BARGING
    atomic { !at_work[1] && !at_work[2] && !at_work[3]; at_work[me] = true }
#else
    w = 1;
    do
    :: w <= WRITERS && !WAITS(me, w) -> w++
    :: w <= WRITERS && WAITS(me, w) -> skip;
       atomic { !WAITS(me, w); w++ }
    :: w > WRITERS -> break
    od;
    skip;
    d_step { w = 0; at_work[me] = true }
#endif
}

inline leave(me) {
    d_step {                    /* sets those free that wait for it */
        here[me] = false;
        at_work[me] = false;
        w = 1;
        do
        :: w <= WRITERS -> WAITS(w, me) = false; w++
        :: else -> break
        od;
        w = 0;
        served = served || me == 1
    }
}

active [WRITERS] proctype writer() {
    byte me = _pid + 1, w;

again:
    skip;
    arrive(me);
    wait(me);
    assert(at_work[1] + at_work[2] + at_work[3] == 1);
    leave(me);
    if
    :: me != 1 -> goto again
    :: else
    fi
}

ltl nobody_starves { [] (arrived -> <> served) }
