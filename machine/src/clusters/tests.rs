use super::*;

fn state(there: Vec<u64>) -> OverlayState {
    let (piece, window, save_after) = (8192, 65536, 65536);
    OverlayState { cluster: 4096, there, page_clusters: 64, piece, window, save_after }
}

fn clusters(length: u64, there: u64) -> Clusters {
    Clusters::new(state(vec![there]), length)
}

#[test]
fn runs_end_where_clusters_differ_and_at_the_bound() {
    let clusters = clusters(10 * 4096 - 100, 0b1000000110);
    assert_eq!(clusters.run(0, 36864), (false, 4096));
    assert_eq!(clusters.run(5000, 36864), (true, 3 * 4096));
    assert_eq!(clusters.run(5000, 6000), (true, 6000));
    assert_eq!(clusters.run(12288, 40860), (false, 9 * 4096));
    assert_eq!(clusters.run(9 * 4096, 40860), (true, 40860));
    assert_eq!(clusters.first_absent(4096, 40860), 12288);
    assert_eq!(clusters.first_absent(9 * 4096, 40860), 40860);
}

#[test]
fn runs_pass_over_words() {
    let clusters = Clusters::new(state(vec![u64::MAX; 3]), 4096 * 300);
    assert_eq!(clusters.run(4096, 4096 * 300), (true, 4096 * 192));
    assert_eq!(clusters.run(4096 * 192, 4096 * 300), (false, 4096 * 300));
}

#[test]
fn gaps_are_of_absent_clusters_only_and_end_with_the_object() {
    let clusters = clusters(3 * 4096 + 100, 0b0010);
    assert_eq!(clusters.gaps(100, 200), ((0, 100), (200, 4096)));
    assert_eq!(clusters.gaps(100, 4196), ((0, 100), (4196, 4196)));
    assert_eq!(clusters.gaps(5000, 8192), ((5000, 5000), (8192, 8192)));
    assert_eq!(clusters.gaps(5000, 9000), ((5000, 5000), (9000, 12288)));
    assert_eq!(clusters.gaps(12288, 12388), ((12288, 12288), (12388, 12388)));
    assert_eq!(clusters.gaps(12300, 12350), ((12288, 12300), (12350, 12388)));
    assert!(!clusters.has_gaps(8192, 12388) && clusters.has_gaps(8193, 12388));
}

#[test]
fn only_what_was_there_at_the_mark_gets_into_the_map() {
    let mut clusters = clusters(8 * 4096, 0);
    clusters.note_there(4096, 3 * 4096);
    let mark = clusters.mark();
    clusters.note_there(0, 5000);
    assert!(clusters.is_there(0, 4096) && !clusters.is_saved(4096, 8192));
    clusters.note_durable(mark);
    let version = clusters.version();
    assert_eq!(clusters.begin_save(), Some(vec![MapPage { number: 0, bits: vec![0b110] }]));
    assert!(!clusters.holds(version));
    clusters.note_durable(clusters.mark());
    let later = clusters.version();
    assert_eq!(clusters.begin_save(), None, "one after the other");
    clusters.end_save(true);
    assert!(clusters.holds(version) && !clusters.holds(later) && !clusters.is_all_saved());
    assert_eq!(clusters.begin_save(), Some(vec![MapPage { number: 0, bits: vec![0b111] }]));
    clusters.end_save(true);
    assert!(clusters.holds(later) && clusters.is_all_saved() && !clusters.is_complete());
}

#[test]
fn the_last_cluster_is_there_when_the_object_is_covered_to_its_end() {
    let mut clusters = clusters(4096 + 100, 0);
    clusters.note_there(4096, 4195);
    assert!(!clusters.is_there(4096, 4196));
    clusters.note_there(0, 4196);
    assert!(clusters.is_complete() && !clusters.is_settled());
    clusters.note_durable(clusters.mark());
    clusters.begin_save();
    clusters.end_save(true);
    assert!(clusters.is_settled());
}

#[test]
fn what_a_damaged_count_claims_beyond_the_end_counts_for_nothing() {
    assert!(!clusters(2 * 4096, u64::MAX << 2).is_there(0, 1));
    assert!(clusters(2 * 4096, u64::MAX).is_settled());
}
