//! What a host shows of a workspace, in the words of the model.

use fleet_api::host::{Observed, StartFailure};
use model::state::{Event, Failure, FailureKind, Sight, State};

use crate::app::present::kind_name;

/// What a look at the host means for a workspace in this state.
pub fn event(state: &State, observed: &Observed) -> Event {
    let ours = state.placement().epoch;
    let (epoch, sight) = match observed {
        Observed::Absent => (ours, Sight::Absent),
        Observed::Unknown { .. } => (ours, Sight::Unknown),
        Observed::Starting { epoch } => (*epoch, Sight::Starting),
        Observed::Running { epoch, .. } => (*epoch, Sight::Running),
        Observed::Paused { epoch, .. } => (*epoch, Sight::Paused),
        Observed::Stopping { epoch } => (*epoch, Sight::Stopping),
        Observed::Stopped { epoch } => (*epoch, Sight::Stopped),
        Observed::Failed {
            epoch,
            failure: why,
        } => (
            *epoch,
            Sight::Failed {
                failure: failure(why),
            },
        ),
    };
    if epoch < ours {
        return Event::Seen(Sight::Older {
            alive: is_alive(&sight),
        });
    }
    // A later start than this database knows, as after a restore of an older one: what is there is ours, but
    // a new start needs a number after it.
    if epoch > ours && matches!(state, State::Queued { .. }) {
        return Event::Fenced { known: epoch };
    }
    Event::Seen(sight)
}

fn is_alive(sight: &Sight) -> bool {
    match sight {
        Sight::Starting | Sight::Running | Sight::Paused | Sight::Stopping => true,
        Sight::Older { alive } => *alive,
        Sight::Absent | Sight::Unknown | Sight::Stopped | Sight::Failed { .. } => false,
    }
}

pub fn failure(failure: &StartFailure) -> Failure {
    Failure {
        kind: FailureKind::Host(kind_name(failure)),
        message: failure.message.clone(),
        log: failure.log.clone(),
    }
}
