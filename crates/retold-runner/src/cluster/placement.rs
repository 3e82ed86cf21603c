//! The placement: which unit belongs on which node. A pure function of the names of units and
//! nodes, so that nodes which see the same names agree without a leader.
//!
//! Rendezvous hashing (Thaler and Ravishankar, 1996): a unit belongs on the node for which the hash
//! of both is highest. When a node leaves, only its own units are placed again, spread over all
//! others. With few units that is uneven, so nodes have bounds: units choose in the order of their
//! names among the nodes that have room, and the loads of two nodes differ by at most one. The
//! price is that a few more units move than necessary.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Returns the node on which each unit belongs; empty if there are no nodes.
pub(crate) fn place<'a>(units: &[Arc<str>], nodes: &'a BTreeSet<Arc<str>>) -> Vec<&'a Arc<str>> {
    let nodes: Vec<_> = nodes.iter().collect();
    let Some(first) = nodes.first() else {
        return Vec::new();
    };
    let (each, rest) = (units.len() / nodes.len(), units.len() % nodes.len());
    let mut loads = vec![0; nodes.len()];
    let mut above = 0;
    let mut placed = vec![*first; units.len()];
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|unit| &units[*unit]);
    for unit in order {
        let has_room = |load: usize| load < each || (load == each && above < rest);
        let with_room = (0..nodes.len()).filter(|node| has_room(loads[*node]));
        let chosen = with_room.max_by_key(|node| (weight(nodes[*node], &units[unit]), *node));
        let chosen = chosen.expect("the nodes have room for all units");
        loads[chosen] += 1;
        above += usize::from(loads[chosen] > each);
        placed[unit] = nodes[chosen];
    }
    placed
}

/// Returns how strongly a unit is drawn to a node. It is the same in every process and version,
/// because nodes of different versions must agree: FNV-1a (draft-eastlake-fnv), then the finalizer
/// of `MurmurHash3`, without which names that differ in their last letter have similar hashes.
fn weight(node: &str, unit: &str) -> u64 {
    let bytes = node.bytes().chain([0]).chain(unit.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn units(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|it| format!("unit {it}").into()).collect()
    }

    fn nodes(names: impl IntoIterator<Item = usize>) -> BTreeSet<Arc<str>> {
        names
            .into_iter()
            .map(|it| format!("node {it}").into())
            .collect()
    }

    #[test]
    fn no_two_nodes_differ_by_more_than_one() {
        for unit_count in 0..40 {
            for node_count in 1..9 {
                let (units, nodes) = (units(unit_count), nodes(0..node_count));
                let placed = place(&units, &nodes);
                assert_eq!(placed.len(), unit_count);
                let mut loads: BTreeMap<_, usize> = nodes.iter().map(|it| (it, 0)).collect();
                for node in placed {
                    *loads.get_mut(node).unwrap() += 1;
                }
                let (least, most) = (loads.values().min(), loads.values().max());
                assert!(
                    *most.unwrap() <= least.unwrap() + 1,
                    "{unit_count} units on {node_count} nodes: {loads:?}"
                );
            }
        }
        assert!(place(&units(3), &BTreeSet::new()).is_empty());
    }

    #[test]
    fn the_order_of_units_does_not_matter() {
        let (mut units, nodes) = (units(17), nodes(0..5));
        let named = |units: &[Arc<str>]| -> BTreeMap<Arc<str>, Arc<str>> {
            let placed = place(units, &nodes).into_iter().cloned();
            units.iter().cloned().zip(placed).collect()
        };
        let placed = named(&units);
        units.reverse();
        assert_eq!(named(&units), placed);
    }

    /// Bounds make more units move than the removed node's share, but not most of them.
    #[test]
    fn most_units_stay_when_a_node_leaves() {
        let units = units(100);
        let before = nodes(0..10);
        for gone in 0..10 {
            let after = nodes((0..10).filter(|it| *it != gone));
            let (before, after) = (place(&units, &before), place(&units, &after));
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            assert!((10..35).contains(&moved), "{moved} of 100 moved");
        }
    }

    /// Nodes of different versions must agree.
    #[test]
    fn weights_are_stable() {
        assert_eq!(weight("node 1", "unit 1"), 2_492_021_150_596_391_204);
        assert_ne!(weight("a", "b"), weight("b", "a"));
    }
}
