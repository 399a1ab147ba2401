//! What to do about a fault: one text for each code, shown by the command line and listed in `docs/errors.md`.
//!
//! Druid's own texts stay as they are, since clients compare them; this is said beside them.

use crate::FaultCode;

impl FaultCode {
    /// Finds a code by the name that Druid writes.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Tells what to do.
    pub fn remedy(self) -> &'static str {
        use FaultCode::*;
        match self {
            BroadcastTablesTooLarge => {
                "let both sides be sorted instead: SET sqlJoinAlgorithm = 'sortMerge' before the statement; or give more with --memory"
            }
            Canceled => "nothing was published; run the statement again",
            CannotParseExternalData => {
                "mend the row, or let a load go on past bad rows: SET maxParseExceptions = 10 before the statement (-1: past any number); the report lists them"
            }
            ColumnNameRestricted => {
                "give the column another name with AS; names that begin with __ are the engine's own"
            }
            ColumnTypeNotSupported => "CAST the column to VARCHAR, BIGINT, DOUBLE or an ARRAY of these",
            DruidException => "the text says which part of the statement or which value to change",
            DurableStorageConfiguration => {
                "leave out durableShuffleStorage and selectDestination; intermediate results stay in this process"
            }
            InsertCannotAllocateSegment => {
                "the time chunk is locked or its segments have another granularity: use the table's PARTITIONED BY, or REPLACE the chunk"
            }
            InsertCannotBeEmpty => "the SELECT gave no rows: check its WHERE, or leave out failOnEmptyInsert",
            InsertLockPreempted => {
                "another task of higher priority took the time chunk; run the statement again when it is done"
            }
            InsertTimeNull => {
                "leave such rows out with WHERE … IS NOT NULL, or give them a time: COALESCE(TIME_PARSE(t), TIMESTAMP '2000-01-01'); TIME_PARSE is NULL for text that is not ISO 8601, its second argument is the pattern"
            }
            InsertTimeOutOfBounds => "widen OVERWRITE WHERE, or repeat its condition in the WHERE of the SELECT",
            InvalidField => "change the expression of this column so that it gives the column's type in every row",
            InvalidNullByte => "remove it: REPLACE(column, U&'\\0000', '')",
            NotEnoughMemory => {
                "give more with --memory, or use fewer workers: SET maxNumTasks = 2 before the statement"
            }
            NotEnoughTemporaryStorageFault => {
                "free space on the disk of the data folder, or move the folder with --dir to a larger one"
            }
            QueryNotSupported => {
                "the text names what is not supported; docs/known-limitations.md lists it with a way around"
            }
            RowTooLarge => "shorten the long values, for example SUBSTRING(column, 1, 10000), or leave the column out",
            TaskStartTimeout => "wait until other tasks are done, or cancel them",
            TooManyAttemptsForJob | TooManyAttemptsForWorker => "the log of the server says why each attempt failed",
            TooManyBuckets => "use a coarser PARTITIONED BY (MONTH, YEAR or ALL), or load a shorter time at once",
            TooManyClusteredByColumns => "cluster by the few columns that queries filter on; more do not speed them up",
            TooManyColumns => "select fewer columns, or keep the rest as one JSON column",
            TooManyInputFiles => "load fewer files at once, or more workers: SET maxNumTasks = 8 before the statement",
            TooManyPartitions => {
                "write larger segments: SET rowsPerSegment = 5000000 before the statement; or a coarser PARTITIONED BY"
            }
            TooManyRowsInAWindow => {
                "add a column to PARTITION BY of the window, or SET maxRowsMaterializedInWindow higher"
            }
            TooManyRowsWithSameKey => {
                "filter the frequent key out of one side before the join, or join on more columns"
            }
            TooManySegmentsInTimeChunk => {
                "use a finer PARTITIONED BY, or SET rowsPerSegment higher before the statement"
            }
            TooManyWarnings => "the report lists the bad rows: mend them, or raise maxParseExceptions",
            TooManyWorkers => "SET maxNumTasks to a smaller number before the statement",
            UnknownError => {
                "look into the log of the server; if the statement is right this is a defect of henge, please report it with the statement"
            }
            WorkerFailed | WorkerRpcFailed => {
                "run the statement again; the log of the server says why the worker failed"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_errors_lists_every_code_with_its_remedy() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md")).unwrap();
        for code in FaultCode::ALL {
            assert_eq!(FaultCode::of(code.as_str()), Some(*code));
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| `{}` |", code.as_str())))
                .unwrap_or_else(|| panic!("docs/errors.md lacks {}", code.as_str()));
            assert!(
                row.contains(code.remedy()),
                "docs/errors.md says otherwise of {}",
                code.as_str()
            );
        }
    }
}
