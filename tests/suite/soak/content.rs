//! Repeatable random numbers, and contents of files that a few numbers describe.

/// The size of a block of content.
const BLOCK: usize = 512;

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize]
    }

    /// A length: mostly short, now and then of several pieces.
    pub fn length(&mut self) -> usize {
        let most = self.pick(&[10, 5_000, 5_000, 5_000, 5_000, 20_000, 20_000, 20_000, 300_000, 1_500_000]);
        self.below(most) as usize
    }
}

/// What a file holds: pieces, each some bytes of what a seed gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    seed: u64,
    start: usize,
    length: usize,
}

impl Content {
    pub fn of(seed: u64, length: usize) -> Self {
        Content::default().then(seed, length)
    }

    pub fn then(&self, seed: u64, length: usize) -> Self {
        Content([&self.0[..], &[Piece { seed, start: 0, length }]].concat())
    }

    pub fn bytes(&self) -> Vec<u8> {
        let bytes_of = |piece: &Piece| bytes(piece.seed, piece.start + piece.length).split_off(piece.start);
        self.0.iter().flat_map(bytes_of).collect()
    }

    /// The first bytes of it.
    pub fn cut(&self, mut length: usize) -> Self {
        let mut pieces = Vec::new();
        for piece in &self.0 {
            let taken = length.min(piece.length);
            pieces.push(Piece { length: taken, ..*piece });
            length -= taken;
        }
        pieces.retain(|piece| piece.length > 0);
        Content(pieces)
    }

    /// Its first bytes, and behind them what another content has there.
    pub fn over(&self, length: usize, other: &Content) -> Self {
        let Content(mut pieces) = self.cut(length);
        let mut before = length;
        for piece in &other.0 {
            let skipped = before.min(piece.length);
            before -= skipped;
            pieces.push(Piece { start: piece.start + skipped, length: piece.length - skipped, ..*piece });
        }
        pieces.retain(|piece| piece.length > 0);
        Content(pieces)
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.length).sum()
    }
}

/// As many bytes as the length says: blocks that differ by their number, and in all from those of other seeds.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice(seed);
    let block: Vec<u8> = (0..BLOCK / 8).flat_map(|_| dice.next().to_le_bytes()).collect();
    let mut bytes = block.repeat(length.div_ceil(BLOCK));
    for (number, block) in bytes.chunks_exact_mut(BLOCK).enumerate() {
        block[..8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A content with a checksum of its own, so that any process can check whether it is whole.
pub fn sealed(seed: u64, length: usize) -> Vec<u8> {
    [&seed.to_le_bytes()[..], &(length as u64).to_le_bytes(), &bytes(seed, length)].concat()
}

/// Whether the content is whole and has its checksum.
pub fn is_sealed(content: &[u8]) -> bool {
    let Some((head, rest)) = content.split_at_checked(16) else { return false };
    let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
    word(8) == rest.len() as u64 && rest == bytes(word(0), rest.len())
}

/// What a worker says of a content that it read.
pub fn checksum(content: &[u8]) -> u32 {
    crc32c::crc32c(content)
}
