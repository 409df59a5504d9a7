//! The books: contiguous, once, complete, and paged without a hole.

use std::collections::BTreeSet;

use davit_scheduler::store::*;
use davit_types::{Attempt, RunKey, RunStatus, UsageSegment, segment_id};

use crate::world::{NOW_MS, PRICE_MICROS, World, cases, end, segment, started, update};

cases![
    segments_must_be_contiguous,
    repeated_segments_count_once,
    an_end_waits_for_its_ledger,
    paused_segments_are_stored_and_not_billed,
    usage_before_the_start_is_refused,
    absurd_values_are_refused,
    pages_cover_every_segment_once,
    totals_equal_the_ledger_and_the_runs,
    a_spend_cap_refuses_new_runs_and_names_the_tenant,
    every_change_leaves_an_audit_row,
    what_came_before_a_segment_counts_all_attempts_and_no_pause,
    tenants_over_their_cap_are_paged,
];

async fn segments_must_be_contiguous(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let send = |step, segments| world.report(update(peer, key, step, Event::Metered, segments));
    send(2, vec![segment(key, 0, 0, 100)]).await.unwrap();
    let gap = |sequence| Refusal::LedgerGap {
        sequence,
        expected: 1,
        begin_ms: 100,
    };
    let hole = vec![segment(key, 1, 150, 200)];
    assert_eq!(send(3, hole).await, Err(gap(1)));
    let overlap = vec![segment(key, 1, 50, 200)];
    assert_eq!(send(3, overlap).await, Err(gap(1)));
    let skipped = vec![segment(key, 2, 100, 200)];
    assert_eq!(send(3, skipped).await, Err(gap(2)));
    let empty = vec![segment(key, 1, 100, 100)];
    assert_eq!(send(3, empty).await, Err(gap(1)));
    let half = vec![segment(key, 1, 100, 200), segment(key, 2, 300, 400)];
    assert!(send(3, half).await.is_err());
    let rows = world.store.usage_of_run(key.run, None, 10).await.unwrap();
    assert_eq!(
        rows.len(),
        1,
        "a refused message stores none of its segments"
    );
    assert_eq!(
        send(3, vec![segment(key, 1, 100, 200)]).await,
        Ok(Done::Applied)
    );
    let rest = world
        .store
        .usage_of_run(key.run, Some((key.attempt, 0)), 10)
        .await;
    assert_eq!(rest.unwrap().len(), 1);
}

async fn repeated_segments_count_once(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let send = |step, segments| world.report(update(peer, key, step, Event::Metered, segments));
    send(2, vec![segment(key, 0, 0, 100)]).await.unwrap();
    // The next message carries the last segment again, as after a lost acknowledgement.
    let both = vec![segment(key, 0, 0, 100), segment(key, 1, 100, 150)];
    assert_eq!(send(3, both).await, Ok(Done::Applied));
    let rows = world.store.usage_of_run(key.run, None, 10).await.unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.segment.id).collect();
    assert_eq!(ids, [segment_id(key, 0), segment_id(key, 1)]);
    assert_eq!(world.row(key.run).await.active_ms, 150);
}

async fn an_end_waits_for_its_ledger(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let last = |wall_ms| {
        let segments = vec![segment(key, 0, 0, 100)];
        world.report(update(
            peer,
            key,
            2,
            Event::Ended(end(wall_ms, 0)),
            segments,
        ))
    };
    for wall_ms in [101, 99] {
        let incomplete = Refusal::LedgerIncomplete {
            ledger_ms: 100,
            wall_ms,
        };
        assert_eq!(last(wall_ms).await, Err(incomplete));
    }
    assert_eq!(last(100).await, Ok(Done::Applied));
}

async fn paused_segments_are_stored_and_not_billed(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let frozen = UsageSegment {
        paused: true,
        ..segment(key, 1, 1000, 9000)
    };
    let segments = vec![
        segment(key, 0, 0, 1000),
        frozen,
        segment(key, 2, 9000, 9500),
    ];
    let last = update(peer, key, 2, Event::Ended(end(9500, 0)), segments);
    world.report(last).await.unwrap();
    let ended = world.view(key.run).await.ended.unwrap();
    assert_eq!((ended.active_ms, ended.billed_seconds), (1500, 2));
    let rows = world.store.usage_of_run(key.run, None, 10).await.unwrap();
    let paused: Vec<_> = rows.iter().map(|row| row.segment.paused).collect();
    assert_eq!(paused, [false, true, false]);
}

async fn usage_before_the_start_is_refused(world: World) {
    let peer = world.host().await;
    let key = world.assigned(peer).await;
    let early = update(peer, key, 1, Event::Accepted, vec![segment(key, 0, 0, 10)]);
    let refused = world.report(early).await;
    assert!(matches!(refused, Err(Refusal::LedgerGap { .. })));
}

async fn absurd_values_are_refused(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let send = |segments| world.report(update(peer, key, 2, Event::Metered, segments));
    let eternal = send(vec![segment(key, 0, 0, u64::MAX)]).await;
    assert!(matches!(
        eternal,
        Err(Refusal::OutOfRange { what: "end_ms", .. })
    ));
    let many = (0..=64).map(|n| segment(key, n, u64::from(n), u64::from(n) + 1));
    let many = send(many.collect()).await;
    assert!(matches!(
        many,
        Err(Refusal::OutOfRange {
            what: "segments",
            ..
        })
    ));
    let mut dear = world.submission();
    dear.base.price_second_micros = u64::MAX;
    let dear = world.submit(&dear).await;
    assert!(matches!(dear, Err(Refusal::OutOfRange { .. })));
    let mut late = update(peer, key, 2, Event::Metered, vec![]);
    late.at_ms = u64::MAX;
    let late = world.report(late).await;
    assert!(matches!(
        late,
        Err(Refusal::OutOfRange { what: "at_ms", .. })
    ));
}

async fn pages_cover_every_segment_once(world: World) {
    let peer = world.host().await;
    let mut wanted = BTreeSet::new();
    for _ in 0..4 {
        let key = world.running(peer).await;
        for n in 0..3 {
            let step = update(
                peer,
                key,
                n + 2,
                Event::Metered,
                vec![segment(key, n, u64::from(n) * 10, u64::from(n) * 10 + 10)],
            );
            world.report(step).await.unwrap();
            wanted.insert(segment_id(key, n));
        }
    }
    let mut seen = BTreeSet::new();
    let mut after = Cursor::default();
    loop {
        let page = world.store.usage_page(None, after, 5).await.unwrap();
        if page.rows.is_empty() {
            assert_eq!(page.next, after, "an empty page moves no cursor");
            break;
        }
        assert!(page.next > after);
        after = page.next;
        for row in page.rows {
            assert!(seen.insert(row.segment.id), "a segment came twice");
            assert_eq!(
                (row.price_second_micros, row.host),
                (PRICE_MICROS, peer.sender.host)
            );
        }
    }
    assert_eq!(seen, wanted);
    let others = Some("other".parse().unwrap());
    let page = world.store.usage_page(others, Cursor::default(), 5).await;
    assert_eq!(page.unwrap().rows, []);
}

async fn totals_equal_the_ledger_and_the_runs(world: World) {
    let peer = world.host().await;
    let mut cost_micros = 0;
    for wall_ms in [1, 999, 1000, 1001, 59_999] {
        let key = world.running(peer).await;
        let middle = wall_ms / 2;
        if middle > 0 {
            let half = vec![segment(key, 0, 0, middle)];
            world
                .report(update(peer, key, 2, Event::Metered, half))
                .await
                .unwrap();
        } else {
            world
                .report(update(peer, key, 2, Event::Metered, vec![]))
                .await
                .unwrap();
        }
        let rest = segment(key, u32::from(middle > 0), middle, wall_ms);
        let last = update(peer, key, 3, Event::Ended(end(wall_ms, 0)), vec![rest]);
        world.report(last).await.unwrap();
        let ended = world.view(key.run).await.ended.unwrap();
        assert_eq!(ended.billed_seconds, wall_ms.div_ceil(1000));
        cost_micros += ended.cost_micros;
    }
    let totals = world.store.totals(world.tenant.clone()).await.unwrap();
    let page = world
        .store
        .usage_page(None, Cursor::default(), 100)
        .await
        .unwrap();
    let ledger_ms: u64 = page
        .rows
        .iter()
        .map(|row| row.segment.end_ms - row.segment.begin_ms)
        .sum();
    assert_eq!(
        totals,
        Totals {
            active_ms: ledger_ms,
            cost_micros,
        }
    );
    assert_eq!(cost_micros, (1 + 1 + 1 + 2 + 60) * PRICE_MICROS);
}

async fn a_spend_cap_refuses_new_runs_and_names_the_tenant(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    world.tenant("acme", Some(PRICE_MICROS * 2)).await;
    assert_eq!(world.store.tenants_over_cap(None, 10).await.unwrap(), []);
    world.submitted().await;
    let minute = update(peer, key, 2, Event::Metered, vec![segment(key, 0, 0, 1001)]);
    world.report(minute).await.unwrap();
    let over = world.store.tenants_over_cap(None, 10).await.unwrap();
    assert_eq!(over[0].tenant, world.tenant);
    let refused = Refusal::SpendCap {
        spent_micros: PRICE_MICROS * 2,
        cap_micros: PRICE_MICROS * 2,
    };
    assert_eq!(world.submit(&world.submission()).await, Err(refused));
    let status = world.view(key.run).await.active.unwrap().state.status();
    assert_eq!(
        status,
        RunStatus::Running,
        "stopping it is the service's decision"
    );
}

async fn every_change_leaves_an_audit_row(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let last = update(
        peer,
        key,
        2,
        Event::Ended(end(1, 0)),
        vec![segment(key, 0, 0, 1)],
    );
    world.report(last).await.unwrap();
    let tenant = Some(world.tenant.clone());
    let page = world
        .store
        .audit_page(tenant, Cursor::default(), 100)
        .await
        .unwrap();
    let actions: Vec<_> = page.rows.iter().map(|row| row.action.as_str()).collect();
    let life = ["run.submitted", "run.assigned", "run.started", "run.ended"];
    assert_eq!(actions[1..], life, "after tenant.set");
    let ended = page.rows.last().unwrap();
    assert_eq!(ended.subject, key.to_string());
    assert_eq!(ended.detail, "exited, exit code 0");
    assert_eq!(ended.at_ms, NOW_MS + 2);
    let all = world
        .store
        .audit_page(None, Cursor::default(), 100)
        .await
        .unwrap();
    let of_operator = all.rows.iter().filter(|row| row.tenant.is_none());
    let actions: Vec<_> = of_operator.map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["join_token.created", "host.joined"]);
}

async fn what_came_before_a_segment_counts_all_attempts_and_no_pause(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let frozen = UsageSegment {
        paused: true,
        ..segment(key, 1, 1_000, 5_000)
    };
    let first = vec![
        segment(key, 0, 0, 1_000),
        frozen,
        segment(key, 2, 5_000, 5_200),
    ];
    let again = AttemptEnd {
        retry: Some(Retry { not_before_ms: 0 }),
        ..end(5_200, 0)
    };
    let last = update(peer, key, 2, Event::Ended(again), first);
    world.report(last).await.unwrap();
    world.claim(1).await;
    world.assign(key.run, peer).await.unwrap();
    let second = RunKey {
        run: key.run,
        attempt: Attempt::new(2).unwrap(),
    };
    world.say(peer, second, 1, started()).await.unwrap();
    let more = update(
        peer,
        second,
        2,
        Event::Metered,
        vec![segment(second, 0, 0, 70)],
    );
    world.report(more).await.unwrap();
    let other = world.running(peer).await;
    let asked = [(key, 0), (key, 2), (second, 0), (second, 1), (other, 0)];
    let found = world.store.usage_before(asked.to_vec()).await.unwrap();
    let mut found: Vec<_> = found
        .into_iter()
        .map(|before| {
            (
                before.key,
                before.sequence,
                before.segments,
                before.active_ms,
            )
        })
        .collect();
    found.sort_unstable();
    let mut wanted = [
        (key, 0, 0, 0),
        (key, 2, 2, 1_000),
        (second, 0, 3, 1_200),
        (second, 1, 4, 1_270),
        (other, 0, 0, 0),
    ];
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

async fn tenants_over_their_cap_are_paged(world: World) {
    for name in ["a", "b", "c"] {
        world.tenant(name, Some(0)).await;
    }
    world.tenant("d", Some(1)).await;
    let page = async |after: Option<&str>| {
        let after = after.map(|name| name.parse().unwrap());
        let page = world.store.tenants_over_cap(after, 2).await.unwrap();
        page.iter()
            .map(|tenancy| tenancy.tenant.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, ["a", "b"]);
    assert_eq!(page(Some("b")).await, ["c"]);
}
