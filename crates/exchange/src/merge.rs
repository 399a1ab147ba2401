//! A loser tree: the least of many sorted inputs with about log2(n) comparisons a row, each against the loser of a subtree
//! (Knuth, The Art of Computer Programming, volume 3, 5.4.1).
//!
//! ```text
//!            winner
//!              │
//!          [1] loser of the final            inner nodes 1 … n−1 hold losers, node 0 the winner;
//!         ╱          ╲                       leaf i (an input) hangs below node (n + i) / 2
//!     [2] loser     [3] loser
//!     ╱    ╲        ╱    ╲
//!    0      1      2      3
//! ```

/// The tree; inputs are known by their number.
pub(crate) struct LoserTree {
    nodes: Vec<usize>,
}

impl LoserTree {
    /// Plays all matches. `less(a, b)` tells whether the head of input `a` comes before the head of input `b`; it must be a
    /// strict order of distinct inputs, with exhausted inputs behind all others.
    pub(crate) fn new(inputs: usize, less: impl Fn(usize, usize) -> bool) -> Self {
        let mut nodes = vec![0; inputs.max(1)];
        // Winners of all subtrees, from the leaves up.
        let mut winners = vec![0; inputs * 2];
        for node in (1..inputs * 2).rev() {
            if node >= inputs {
                winners[node] = node - inputs;
                continue;
            }
            let (left, right) = (winners[node * 2], winners[node * 2 + 1]);
            let (winner, loser) = if less(right, left) {
                (right, left)
            } else {
                (left, right)
            };
            winners[node] = winner;
            nodes[node] = loser;
        }
        if inputs > 0 {
            nodes[0] = winners[if inputs == 1 { 1 } else { 1.min(inputs * 2 - 1) }];
        }
        Self { nodes }
    }

    /// Gives the input with the least head.
    pub(crate) fn winner(&self) -> usize {
        self.nodes[0]
    }

    /// Plays the winner's way up again after its head has changed.
    pub(crate) fn replay(&mut self, less: impl Fn(usize, usize) -> bool) {
        let inputs = self.nodes.len();
        let mut winner = self.nodes[0];
        let mut node = (inputs + winner) / 2;
        while node > 0 {
            if less(self.nodes[node], winner) {
                std::mem::swap(&mut self.nodes[node], &mut winner);
            }
            node /= 2;
        }
        self.nodes[0] = winner;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn merges_like_sorting(mut lists in proptest::collection::vec(proptest::collection::vec(0u8..20, 0..12), 1..9)) {
            lists.iter_mut().for_each(|list| list.sort_unstable());
            let mut at = vec![0; lists.len()];
            let head = |at: &[usize], i: usize| (lists[i].get(at[i]).is_none(), lists[i].get(at[i]).copied(), i);
            let mut tree = LoserTree::new(lists.len(), |a, b| head(&at, a) < head(&at, b));
            let mut merged = Vec::new();
            while let Some(value) = lists[tree.winner()].get(at[tree.winner()]) {
                merged.push((*value, tree.winner()));
                at[tree.winner()] += 1;
                tree.replay(|a, b| head(&at, a) < head(&at, b));
            }
            let mut sorted: Vec<(u8, usize)> =
                lists.iter().enumerate().flat_map(|(i, list)| list.iter().map(move |value| (*value, i))).collect();
            sorted.sort_unstable();
            proptest::prop_assert_eq!(merged, sorted);
        }
    }
}
