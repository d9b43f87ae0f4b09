use super::*;

const BYTES: usize = 2048;

fn bytes(of: u8, from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|at| of.wrapping_mul(37).wrapping_add((at % 251) as u8)).collect()
}

fn write(model: &mut Model, name: usize, of: u8, from: usize, to: usize) {
    model.begin(name, from, Data::Bytes(bytes(of, from, to)));
}

fn allows(model: &Model, found: &[u8]) -> bool {
    model.objection(0, found).is_none()
}

#[test]
fn a_write_that_succeeded_replaces_what_ended_before_it_began() {
    let mut model = Model::new(bytes(0, 0, BYTES));
    write(&mut model, 0, 1, 512, 1024);
    assert!(allows(&model, &bytes(0, 0, BYTES)));
    model.end(0, Outcome::Certain);
    assert!(!allows(&model, &bytes(0, 0, BYTES)));
    write(&mut model, 1, 2, 512, 1024);
    model.withdraw(1);
    let now = [bytes(0, 0, 512), bytes(1, 512, 1024), bytes(0, 1024, BYTES)].concat();
    assert!(allows(&model, &now));
    assert!(!allows(&model, &bytes(2, 0, BYTES)));
}

#[test]
fn a_read_may_see_what_was_written_meanwhile_and_nothing_else() {
    let mut model = Model::new(bytes(0, 0, BYTES));
    model.begin_read(0, 0);
    model.begin_read(1, 0);
    write(&mut model, 2, 1, 0, 512);
    model.end(2, Outcome::Certain);
    let seen = [bytes(1, 0, 512), bytes(0, 512, 1024)].concat();
    assert!(model.end_read(0, Some(&seen)).is_ok());
    assert!(model.end_read(1, Some(&bytes(1, 0, 1024))).is_err());
    model.begin_read(3, 0);
    assert!(model.end_read(3, Some(&bytes(0, 0, 512))).is_err());
}

#[test]
fn a_write_that_failed_may_be_there_byte_by_byte_until_another_succeeds() {
    let mut model = Model::new(bytes(0, 0, BYTES));
    model.write(100, &bytes(1, 100, 200), false);
    let half = [bytes(0, 0, 150), bytes(1, 150, 200), bytes(0, 200, BYTES)].concat();
    assert!(allows(&model, &half));
    model.write(150, &bytes(2, 150, 160), true);
    assert_eq!(model.objection(0, &half).map(|why| why.starts_with("byte 150 ")), Some(true));
    model.discard(0, 10);
    assert!(
        model.objection(0, &[0; 10]).is_none() && model.objection(0, &bytes(0, 0, 10)).is_none()
    );
}

#[test]
fn what_was_cut_off_comes_back_as_zeros() {
    let mut model = Model::new(bytes(3, 0, BYTES));
    model.write(BYTES + 10, &[7; 10], false);
    model.resize(1000);
    assert!(model.objection(0, &bytes(3, 0, 1001)).is_some());
    model.write(1100, &[5; 4], true);
    let now = [bytes(3, 0, 1000), vec![0; 100], vec![5; 4]].concat();
    assert!(allows(&model, &now) && model.length() == 1104);
    model.resize(BYTES + 20);
    assert!(model.objection(BYTES + 10, &[7; 10]).is_some());
}

/// The example at the head of the file.
#[test]
fn who_has_not_ended_may_be_there_and_replaces_nobody() {
    let mut model = Model::new(vec![0; 8]);
    model.write(0, &[1; 8], true);
    model.begin(10, 4, Data::Bytes(vec![2; 4]));
    model.begin(11, 0, Data::Bytes(vec![3; 8]));
    model.end(10, Outcome::Certain);
    for (at, may) in [(1, [1, 3]), (5, [2, 3])] {
        for byte in 0..4 {
            assert_eq!(model.objection(at, &[byte]).is_none(), may.contains(&byte), "{at}: {byte}");
        }
    }
}
