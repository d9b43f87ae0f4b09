use super::*;

#[test]
fn request_flags_are_for_the_requests_that_know_them() {
    let errno = |op, flags| check_request_flags(op, flags).err().map_or(0, |error| error.errno);
    let fua = check_request_flags(Op::Write, BLKALIGN_REQ_FUA).unwrap();
    assert_eq!(fua, RequestFlags { fua: true, ..RequestFlags::default() });
    let zeros = BLKALIGN_REQ_MAY_UNMAP | BLKALIGN_REQ_NO_FALLBACK;
    let any = BLKALIGN_REQ_SERIALISING | BLKALIGN_REQ_NO_WAIT | BLKALIGN_REQ_FUA;
    for op in [Op::Read, Op::Write, Op::WriteZeroes, Op::Discard, Op::Flush] {
        assert_eq!(errno(op, any), 0);
        let expected = if op == Op::WriteZeroes { 0 } else { libc::EINVAL };
        assert_eq!(errno(op, zeros), expected, "{op:?}");
        assert_eq!(errno(op, BLKALIGN_REQ_MAY_UNMAP | any), expected, "{op:?}");
        let moves = matches!(op, Op::Read | Op::Write);
        let expected = if moves { 0 } else { libc::EINVAL };
        assert_eq!(errno(op, BLKALIGN_REQ_REGISTERED_BUF), expected, "{op:?}");
        for bit in 6..32 {
            assert_eq!(errno(op, 1 << bit), libc::EINVAL);
        }
    }
}
