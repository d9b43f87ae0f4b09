use super::*;

#[test]
fn a_thread_keeps_its_key_and_no_other_gets_it() {
    let mine = thread_key();
    let others: Vec<PlugKey> =
        (0..9).map(|_| std::thread::spawn(thread_key).join().unwrap()).collect();
    assert_eq!(thread_key(), mine);
    let mut all = [others.as_slice(), &[mine]].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10);
}
