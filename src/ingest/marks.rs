//! Under which mark the next commit stores its facts.

use crate::{
    audience::segment::Mark,
    db::{Database, DbError, queries::listeners},
};

const BLOCK_NAME: &str = "audience-segment";

/// Numbers of this process's own block, each used once, in the order of commits: whoever has merged up to one has
/// merged all before it. A transaction whose end is unknown may still appear later, so after one that did not end
/// well the numbers go on in a new block.
#[derive(Default)]
pub struct NextMark {
    block: Option<u32>,
    number: u32,
    /// Whether the last number's transaction may be committed or not.
    is_uncertain: bool,
}

impl NextMark {
    pub async fn take(&mut self, database: &Database) -> Result<Mark, DbError> {
        let block = match self.block {
            Some(block) if !self.is_uncertain && self.number < u32::MAX => block,
            _ => {
                let txn = database.begin_write().await?;
                let block = listeners::lease_block(&txn, BLOCK_NAME, 1).await?;
                txn.commit().await?;
                self.number = 0;
                u32::try_from(block).map_err(|_| DbError::Corrupt("a block's number is not 32 bits"))?
            }
        };
        self.block = Some(block);
        self.number += 1;
        self.is_uncertain = false;
        Ok(Mark { block, number: self.number })
    }

    /// From here on the transaction may be committed, whatever we hear of it.
    pub fn begin_commit(&mut self) {
        self.is_uncertain = true;
    }

    pub fn end_commit(&mut self) {
        self.is_uncertain = false;
    }
}
