//! One path after the other through all choices, by depth-first search. What is walked cannot be
//! copied, so each path is run from its start.

/// The choices made so far on the way to a leaf, and how many there were.
#[derive(Default)]
pub struct Path {
    pub choices: Vec<(usize, usize)>,
    depth: usize,
}

impl Path {
    /// The same path once more, from its start.
    pub fn again(&mut self) {
        self.depth = 0;
    }

    /// One of so many ways to go on.
    pub fn choose(&mut self, options: usize) -> usize {
        if self.depth == self.choices.len() {
            self.choices.push((0, options));
        }
        let (choice, known) = self.choices[self.depth];
        assert_eq!(known, options, "the machine does something else when asked again");
        self.depth += 1;
        choice
    }

    /// The next path; false when all have been walked.
    pub fn advance(&mut self) -> bool {
        self.depth = 0;
        while let Some((choice, options)) = self.choices.pop() {
            if choice + 1 < options {
                self.choices.push((choice + 1, options));
                return true;
            }
        }
        false
    }
}
