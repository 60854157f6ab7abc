//! Who took to what, and how much: rows of weights with most of them left out.

/// A weight for some pairs of a row and a column, both numbered from 0.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Where each row begins, and where the last one ends.
    starts: Vec<usize>,
    columns: Vec<u32>,
    weights: Vec<f32>,
    width: usize,
}

impl Matrix {
    /// Without rows yet, and with so many columns.
    pub fn new(width: usize) -> Self {
        Self { starts: vec![0], columns: Vec::new(), weights: Vec::new(), width }
    }

    /// Appends a row; its columns are below the width, each there once.
    pub fn push(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        for (column, weight) in row {
            self.columns.push(column);
            self.weights.push(weight);
        }
        self.starts.push(self.columns.len());
    }

    /// How many rows there are.
    pub fn height(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many columns a row has a weight for.
    pub fn row_len(&self, row: u32) -> usize {
        self.starts[row as usize + 1] - self.starts[row as usize]
    }

    pub fn row(&self, row: u32) -> impl Iterator<Item = (u32, f32)> + '_ {
        let range = self.starts[row as usize]..self.starts[row as usize + 1];
        self.columns[range.clone()].iter().copied().zip(self.weights[range].iter().copied())
    }

    /// The same with rows for columns, whose own columns ascend.
    pub fn transposed(&self) -> Matrix {
        let mut starts = vec![0; self.width + 1];
        self.columns.iter().for_each(|column| starts[*column as usize + 1] += 1);
        for column in 0..self.width {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let (mut columns, mut weights) = (vec![0; self.columns.len()], vec![0.0; self.columns.len()]);
        for row in 0..self.height() as u32 {
            for (column, weight) in self.row(row) {
                let place = &mut next[column as usize];
                columns[*place] = row;
                weights[*place] = weight;
                *place += 1;
            }
        }
        Matrix { starts, columns, weights, width: self.height() }
    }

    /// The same pairs with other weights.
    pub fn map(&self, weight: impl Fn(f32) -> f32) -> Matrix {
        Matrix { weights: self.weights.iter().map(|known| weight(*known)).collect(), ..self.clone() }
    }
}
