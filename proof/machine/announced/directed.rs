//! Single cases, each of which says one thing that notifiers change or must not change.
