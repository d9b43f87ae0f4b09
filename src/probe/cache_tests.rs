use super::*;

const XFS: u32 = 0x5846_5342;
const NFS: u32 = 0x6969;
const OVERLAY: u32 = 0x794c_7630;

#[test]
fn a_block_is_what_a_file_system_says_unless_it_has_none_or_that_cannot_be_one() {
    let page = page_bytes();
    for (kind, said, block) in [
        (XFS, 1024, 1024),
        (XFS, 16384, 16384),
        (XFS, 65536, 65536),
        (OVERLAY, 16384, 16384),
        (XFS, 12288, page),
        (XFS, 0, page),
        (XFS, 2 << 20, page),
        (NFS, 262_144, page),
        (NFS, 32768, page),
    ] {
        assert_eq!(block_of(kind, said), block, "{kind:x} {said}");
    }
}
