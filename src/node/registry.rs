//! Which file has which node, in the whole process.
//!
//! The lock guards the map. It is taken when handles open, with no other lock held.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::Node;
use crate::driver::Identity;
use crate::sync::Mutex;
use blkalign_machine::OverlayState;

pub static NODES: Mutex<BTreeMap<Identity, Weak<Node>>> = Mutex::new(BTreeMap::new());

/// The node of `identity`; `length` is the object's if no handle has it open yet.
pub fn node_of(identity: Identity, length: u64) -> Arc<Node> {
    let mut nodes = NODES.lock();
    if let Some(node) = nodes.get(&identity).and_then(Weak::upgrade) {
        return node;
    }
    nodes.retain(|_, node| node.strong_count() > 0);
    let node = Arc::new(Node::new(length));
    nodes.insert(identity, Arc::downgrade(&node));
    node
}

/// Whether this process has the object open.
pub fn is_open(identity: Identity) -> bool {
    NODES.lock().get(&identity).is_some_and(|node| node.strong_count() > 0)
}

/// The node of an overlay whose file on top is this one. None: the process has the file open, as an
/// overlay or not.
pub fn overlay_node(identity: Identity, length: u64, state: OverlayState) -> Option<Arc<Node>> {
    let mut nodes = NODES.lock();
    nodes.retain(|_, node| node.strong_count() > 0);
    if nodes.contains_key(&identity) {
        return None;
    }
    let node = Arc::new(Node::new_overlay(length, state));
    nodes.insert(identity, Arc::downgrade(&node));
    Some(node)
}
