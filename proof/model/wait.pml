/*
 * The wait protocol of the request machine: who waits for whom, and when the
 * edges of a write are read.
 *
 * A disk of BLOCKS blocks with two sectors each. WRITERS requests each pick a
 * range of sectors, arrive in any order and write their own number into it. A
 * request that covers a block only in part reads the whole block first and
 * writes it back whole: a read-modify-write. Every step of every request may
 * come between any two steps of the others.
 *
 * The rules, as in machine/src/tracker.rs and docs/DESIGN.md:
 *   - A request that is not made of whole blocks is exclusive over its blocks;
 *     one that is made of whole blocks is shared. Two requests conflict if
 *     their blocks overlap and one of them is exclusive.
 *   - On arrival, in one step, it notes which of those before it and still
 *     there it conflicts with. It waits until all of them have left, once.
 *   - Then it reads its edges, then it writes, then it leaves.
 *
 * What is shown, for every choice of ranges, every order of arrival and every
 * interleaving (run.sh):
 *   - no deadlock: spin finds no end state in which a request is not done;
 *   - no lost update: in the end each sector holds what one of its writers
 *     wrote, and never that of a writer which a conflicting one followed;
 *   - who waits does so only for those that came before (the assertion in
 *     `wait`); that nobody starves then is shown by fair.pml.
 *
 * Broken variants, each of which must be rejected:
 *   NO_WAIT        does not wait: updates are lost
 *   READ_EARLY     reads its edges before it waits: updates are lost
 *   EDGES_ONLY     notes conflicts on the edges of itself alone, not those of
 *                  the other: an aligned write beside a read-modify-write
 *   LATE_TOO       waits for those that came later, too: deadlock
 *   BLOCKWISE      takes its blocks one after the other, as they get free,
 *                  from its end or its start: deadlock
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef WRITERS
#define WRITERS 3
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
#define SECTORS (2 * BLOCKS)
#define NOBODY 0                /* sectors start out with this; writers are 1.. */

byte disk[SECTORS];             /* the number of the writer */
byte first[WRITERS + 1], last[WRITERS + 1];     /* sectors, both included */
byte ticket[WRITERS + 1];       /* order of arrival, from 1; 0: not there yet */
byte tickets;
bool here[WRITERS + 1];         /* arrived, and has not left */
bool done[WRITERS + 1];
bool waits_for[(WRITERS + 1) * (WRITERS + 1)];  /* [who * .. + whom] */
#define WAITS(who, whom) waits_for[(who) * (WRITERS + 1) + (whom)]

#define HEAD(w) (first[w] % 2 == 1)             /* its first block is an edge */
#define TAIL(w) (last[w] % 2 == 0)
#define EXCLUSIVE(w) (HEAD(w) || TAIL(w))
#define MEET(a, b) (first[a] / 2 <= last[b] / 2 && first[b] / 2 <= last[a] / 2)
#ifdef EDGES_ONLY
#define CONFLICT(later, earlier) (MEET(later, earlier) && EXCLUSIVE(later))
#else
#define CONFLICT(a, b) (MEET(a, b) && (EXCLUSIVE(a) || EXCLUSIVE(b)))
#endif

#ifdef BLOCKWISE
byte owner[BLOCKS];
#endif

/* Everybody it waits for has left. */
inline wait(me) {
    w = 1;
    do
    :: w <= WRITERS && !WAITS(me, w) -> w++
    :: w <= WRITERS && WAITS(me, w) ->
#ifndef LATE_TOO
       assert(ticket[w] < ticket[me]);
#endif
       !here[w];                /* blocks until it has */
       WAITS(me, w) = false;
       w++
    :: w > WRITERS -> break
    od
}

/* The blocks that are not its own as a whole, into its scratch. */
inline read_edges(me) {
    if
    :: HEAD(me) -> d_step { head = disk[first[me] - 1] }
    :: else
    fi;
    if
    :: TAIL(me) -> d_step { tail = disk[last[me] + 1] }
    :: else
    fi
}

active [WRITERS] proctype writer() {
    byte me = _pid + 1, s, w, head, tail;

    /* Any range. */
    select(s : 0 .. SECTORS - 1);
    first[me] = s;
    do
    :: s < SECTORS - 1 -> s++
    :: break
    od;
    last[me] = s;

#ifndef BLOCKWISE
    d_step {                    /* the tracker's lock */
        tickets++;
        ticket[me] = tickets;
        here[me] = true;
        w = 1;
        do
        :: w <= WRITERS ->
           if
           :: w != me && here[w] && CONFLICT(me, w) -> WAITS(me, w) = true;
#ifdef LATE_TOO
              if
              :: ticket[w] == ticket[me] - 1 -> WAITS(w, me) = true
              :: else
              fi
#endif
           :: else
           fi;
           w++
        :: else -> break
        od;
        w = 0
    };
#ifdef READ_EARLY
    read_edges(me);
#endif
#ifndef NO_WAIT
    wait(me);
#endif
#endif

#ifdef BLOCKWISE
    ticket[me] = 1;
    here[me] = true;
    if                          /* whichever end of its range is asked first */
    :: s = first[me] / 2;
       do
       :: s <= last[me] / 2 -> atomic { owner[s] == 0; owner[s] = me }; s++
       :: else -> break
       od
    :: s = last[me] / 2 + 1;
       do
       :: s > first[me] / 2 -> atomic { owner[s - 1] == 0; owner[s - 1] = me };
          s--
       :: else -> break
       od
    fi;
#endif

#ifndef READ_EARLY
    read_edges(me);
#endif

    /* Writes block by block; the storage may stop between two of them. */
    s = first[me] / 2;
    do
    :: s <= last[me] / 2 ->
       d_step {
           if
           :: 2 * s >= first[me] -> disk[2 * s] = me
           :: else -> disk[2 * s] = head
           fi;
           if
           :: 2 * s + 1 <= last[me] -> disk[2 * s + 1] = me
           :: else -> disk[2 * s + 1] = tail
           fi
       };
#ifdef BLOCKWISE
       owner[s] = 0;
#endif
       s++
    :: else -> break
    od;
    skip;
    d_step {
        here[me] = false;
        done[me] = true;
        head = 0; tail = 0; s = 0; w = 0
    };
}

/* When all are done, every sector is as one of the orders of submission that
 * the rules allow would have left it. */
active proctype judge() {
    byte s, v, w;

    v = 1;
    do
    :: v <= WRITERS -> done[v]; v++
    :: else -> break
    od;
    skip;
    d_step {
        s = 0;
        do
        :: s < SECTORS ->
           v = disk[s];
           w = 1;
           do
           :: w <= WRITERS ->
              if
              :: first[w] <= s && s <= last[w] ->
                 assert(v != NOBODY);
                 assert(first[v] <= s && s <= last[v]);
#ifndef BLOCKWISE
                 assert(w == v || ticket[w] < ticket[v] || !CONFLICT(v, w))
#endif
              :: else
              fi;
              w++
           :: else -> break
           od;
           s++
        :: else -> break
        od;
        s = 0
    }
}
