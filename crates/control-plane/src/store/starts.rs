//! Timelines of starts: what a host reports of each step, and how the start ended.

use fleet_api::host::StartFailure;
use model::WorkspaceId;
use model::state::{Effect, Failure, StartOutcome};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::workspaces::WorkspaceRow;
use super::{Result, Store, Writing, corrupt, json, ms, query, unsigned};

/// Starts that are kept of each workspace.
const KEEP: u64 = 20;
/// Longest log of a step, in bytes; the beginning goes.
const LOG_LIMIT: usize = 32 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub struct StartRow {
    pub epoch: u64,
    pub began_ms: u64,
    pub ended_ms: Option<u64>,
    /// `in-progress`, `running`, `failed` or `cancelled`.
    pub outcome: String,
    pub failure: Option<Failure>,
    /// In the order in which they began.
    pub steps: Vec<StepRow>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    pub step: String,
    pub began_ms: u64,
    pub took_ms: Option<u64>,
    pub percent: Option<u8>,
    pub detail: String,
    pub failure: Option<StartFailure>,
    pub log: String,
}

/// What happened to a step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepChange {
    /// Once more, when it is repeated.
    Began,
    Progress {
        detail: String,
        percent: Option<u8>,
    },
    Ended {
        took_ms: u64,
        failure: Option<StartFailure>,
    },
}

impl Store {
    /// Applies a change to a step; answers the step as it is then. A start that nobody has heard of, as of
    /// a workspace that is gone, answers none.
    pub async fn change_step(
        &self,
        workspace: &WorkspaceId,
        epoch: u64,
        step: &str,
        at_ms: u64,
        change: StepChange,
    ) -> Result<Option<StepRow>> {
        const WHAT: &str = "recording a step of a start";
        let mut writing = self.write().await?;
        let start = sqlx::query(
            "SELECT organization_id, owner_id FROM starts WHERE workspace_id = $1 AND epoch = $2",
        )
        .bind(workspace.as_str())
        .bind(ms(epoch))
        .fetch_optional(&mut *writing)
        .await
        .map_err(query(WHAT))?;
        let Some(start) = start else { return Ok(None) };
        let found = sqlx::query(
            "SELECT step, began_ms, took_ms, percent, detail, failure, log FROM start_steps
             WHERE workspace_id = $1 AND epoch = $2 AND step = $3",
        )
        .bind(workspace.as_str())
        .bind(ms(epoch))
        .bind(step)
        .fetch_optional(&mut *writing)
        .await
        .map_err(query(WHAT))?;
        let before = found.as_ref().map(read_step).transpose()?;
        let after = apply_change(before, step, at_ms, change);
        let (organization, owner) = (
            start.try_get::<String, _>(0).map_err(query(WHAT))?,
            start.try_get::<String, _>(1).map_err(query(WHAT))?,
        );
        sqlx::query(
            "INSERT INTO start_steps (workspace_id, epoch, step, organization_id, owner_id, began_ms,
                took_ms, percent, detail, failure, log)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (workspace_id, epoch, step) DO UPDATE SET
                began_ms = excluded.began_ms, took_ms = excluded.took_ms, percent = excluded.percent,
                detail = excluded.detail, failure = excluded.failure, log = excluded.log",
        )
        .bind(workspace.as_str())
        .bind(ms(epoch))
        .bind(step)
        .bind(organization)
        .bind(owner)
        .bind(ms(after.began_ms))
        .bind(after.took_ms.map(ms))
        .bind(after.percent.map(i64::from))
        .bind(&after.detail)
        .bind(after.failure.as_ref().map(json))
        .bind(&after.log)
        .execute(&mut *writing)
        .await
        .map_err(query(WHAT))?;
        writing.commit().await.map_err(query(WHAT))?;
        Ok(Some(after))
    }

    /// The newest first.
    pub async fn starts(&self, workspace: &WorkspaceId) -> Result<Vec<StartRow>> {
        let rows = sqlx::query(
            "SELECT epoch, began_ms, ended_ms, outcome, failure FROM starts WHERE workspace_id = $1
             ORDER BY epoch DESC",
        )
        .bind(workspace.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(query("listing starts"))?;
        let mut starts = rows.iter().map(read_start).collect::<Result<Vec<_>>>()?;
        for start in &mut starts {
            start.steps = self.steps(workspace, start.epoch).await?;
        }
        Ok(starts)
    }

    pub async fn start(&self, workspace: &WorkspaceId, epoch: u64) -> Result<Option<StartRow>> {
        let row = sqlx::query(
            "SELECT epoch, began_ms, ended_ms, outcome, failure FROM starts
             WHERE workspace_id = $1 AND epoch = $2",
        )
        .bind(workspace.as_str())
        .bind(ms(epoch))
        .fetch_optional(&self.pool)
        .await
        .map_err(query("looking up a start"))?;
        let Some(row) = row else { return Ok(None) };
        let mut start = read_start(&row)?;
        start.steps = self.steps(workspace, epoch).await?;
        Ok(Some(start))
    }

    async fn steps(&self, workspace: &WorkspaceId, epoch: u64) -> Result<Vec<StepRow>> {
        let rows = sqlx::query(
            "SELECT step, began_ms, took_ms, percent, detail, failure, log FROM start_steps
             WHERE workspace_id = $1 AND epoch = $2 ORDER BY began_ms",
        )
        .bind(workspace.as_str())
        .bind(ms(epoch))
        .fetch_all(&self.pool)
        .await
        .map_err(query("listing steps"))?;
        rows.iter().map(read_step).collect()
    }
}

/// Follows the effects of a change of state, in its transaction.
pub(super) async fn apply(
    writing: &mut Writing,
    row: &WorkspaceRow,
    effects: &[Effect],
    now_ms: u64,
) -> Result<()> {
    for effect in effects {
        match effect {
            Effect::BeginStart { epoch } => begin(writing, row, *epoch, now_ms).await?,
            Effect::EndStart { epoch, outcome } => {
                end(writing, row, *epoch, outcome, now_ms).await?
            }
            // Whoever removes the row removes its starts.
            Effect::Purge => {}
        }
    }
    Ok(())
}

async fn begin(writing: &mut Writing, row: &WorkspaceRow, epoch: u64, now_ms: u64) -> Result<()> {
    sqlx::query("DELETE FROM starts WHERE workspace_id = $1 AND epoch <= $2")
        .bind(row.id.as_str())
        .bind(ms(epoch) - ms(KEEP))
        .execute(&mut **writing)
        .await
        .map_err(query("forgetting old starts"))?;
    sqlx::query(
        "INSERT INTO starts (workspace_id, epoch, organization_id, owner_id, began_ms, outcome)
         VALUES ($1, $2, $3, $4, $5, 'in-progress') ON CONFLICT (workspace_id, epoch) DO NOTHING",
    )
    .bind(row.id.as_str())
    .bind(ms(epoch))
    .bind(row.organization.as_str())
    .bind(row.owner.as_str())
    .bind(ms(now_ms))
    .execute(&mut **writing)
    .await
    .map_err(query("recording a start"))?;
    Ok(())
}

async fn end(
    writing: &mut Writing,
    row: &WorkspaceRow,
    epoch: u64,
    outcome: &StartOutcome,
    now_ms: u64,
) -> Result<()> {
    let (name, failure) = match outcome {
        StartOutcome::Running => ("running", None),
        StartOutcome::Cancelled => ("cancelled", None),
        StartOutcome::Failed(failure) => ("failed", Some(json(failure))),
    };
    sqlx::query(
        "UPDATE starts SET ended_ms = $3, outcome = $4, failure = $5
         WHERE workspace_id = $1 AND epoch = $2 AND ended_ms IS NULL",
    )
    .bind(row.id.as_str())
    .bind(ms(epoch))
    .bind(ms(now_ms))
    .bind(name)
    .bind(failure)
    .execute(&mut **writing)
    .await
    .map_err(query("recording the end of a start"))?;
    Ok(())
}

fn apply_change(before: Option<StepRow>, step: &str, at_ms: u64, change: StepChange) -> StepRow {
    let mut row = before.unwrap_or_else(|| StepRow {
        step: step.into(),
        began_ms: at_ms,
        took_ms: None,
        percent: None,
        detail: String::new(),
        failure: None,
        log: String::new(),
    });
    match change {
        StepChange::Began => {
            row.began_ms = at_ms;
            row.took_ms = None;
            row.percent = None;
            row.detail.clear();
            row.failure = None;
        }
        StepChange::Progress { detail, percent } => {
            append(&mut row.log, &detail);
            row.detail = detail;
            row.percent = percent;
        }
        StepChange::Ended { took_ms, failure } => {
            row.took_ms = Some(took_ms);
            row.began_ms = row.began_ms.min(at_ms);
            if let Some(failure) = &failure {
                append(&mut row.log, &failure.log);
            } else {
                row.percent = row.percent.map(|_| 100);
            }
            row.failure = failure;
        }
    }
    row
}

/// Adds lines to a log, each once in a row.
fn append(log: &mut String, lines: &str) {
    for line in lines.lines() {
        if !line.trim().is_empty() && log.lines().next_back() != Some(line) {
            log.push_str(line);
            log.push('\n');
        }
    }
    if log.len() > LOG_LIMIT {
        let cut = log.len() - LOG_LIMIT;
        let line_end = log.as_bytes()[cut..].iter().position(|byte| *byte == b'\n');
        log.drain(..line_end.map_or(log.len(), |end| cut + end + 1));
    }
}

fn read_start(row: &AnyRow) -> Result<StartRow> {
    const WHAT: &str = "reading a start";
    let failure: Option<String> = row.try_get(4).map_err(query(WHAT))?;
    Ok(StartRow {
        epoch: unsigned(row.try_get(0).map_err(query(WHAT))?),
        began_ms: unsigned(row.try_get(1).map_err(query(WHAT))?),
        ended_ms: row
            .try_get::<Option<i64>, _>(2)
            .map_err(query(WHAT))?
            .map(unsigned),
        outcome: row.try_get(3).map_err(query(WHAT))?,
        failure: failure
            .map(|text| serde_json::from_str(&text).map_err(corrupt("starts")))
            .transpose()?,
        steps: Vec::new(),
    })
}

fn read_step(row: &AnyRow) -> Result<StepRow> {
    const WHAT: &str = "reading a step";
    let failure: Option<String> = row.try_get(5).map_err(query(WHAT))?;
    let percent: Option<i64> = row.try_get(3).map_err(query(WHAT))?;
    Ok(StepRow {
        step: row.try_get(0).map_err(query(WHAT))?,
        began_ms: unsigned(row.try_get(1).map_err(query(WHAT))?),
        took_ms: row
            .try_get::<Option<i64>, _>(2)
            .map_err(query(WHAT))?
            .map(unsigned),
        percent: percent.and_then(|percent| u8::try_from(percent).ok()),
        detail: row.try_get(4).map_err(query(WHAT))?,
        failure: failure
            .map(|text| serde_json::from_str(&text).map_err(corrupt("start_steps")))
            .transpose()?,
        log: row.try_get(6).map_err(query(WHAT))?,
    })
}
