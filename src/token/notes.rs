//! What is kept with a token.

/// What was made of a token for those who ask about it, so that it need not be made again. It goes
/// with the policy that the token was verified under, as whoever remembers the token does.
#[derive(Debug)]
pub struct Notes {
    /// What changes in a request, encoded.
    pub changes: Box<[u8]>,
    /// How many headers are not set because the claim is too long.
    pub oversized: usize,
    /// The lengths of the arrays and objects among its claims, encoded.
    pub lengths: Box<[u32]>,
}

impl Notes {
    /// How much memory they take.
    pub fn bytes(&self) -> usize {
        self.changes.len() + size_of_val(&*self.lengths)
    }
}
