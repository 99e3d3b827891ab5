//! The steps of a planned switch of roles, and the modes of a pair, frozen.

use serde::{Deserialize, Serialize};

use crate::model::{Digest, Epoch, Position, Revision};
use crate::protocol::wire::{Mode, Modes, Switch, SwitchObstacle};

/// [`Switch`], frozen.
#[derive(Serialize, Deserialize)]
pub enum SwitchV3 {
    Ask,
    Prepare { position: PlaceV3, epoch: u64 },
    Ready { epoch: u64 },
    HandOver { position: PlaceV3, epoch: u64, stops: bool },
    CallOff { why: u8 },
    Refused { why: u8 },
}

/// [`Position`], frozen.
#[derive(Serialize, Deserialize)]
pub struct PlaceV3 {
    epoch: u64,
    seq: u64,
    digest: [u8; 32],
}

/// [`Modes`], frozen.
#[derive(Serialize, Deserialize)]
pub struct ModesV3 {
    paused: ModeV3,
    frozen: ModeV3,
}

#[derive(Serialize, Deserialize)]
struct ModeV3 {
    changes: u64,
    on: bool,
}

impl From<&Switch> for SwitchV3 {
    fn from(step: &Switch) -> Self {
        match step {
            Switch::Ask => Self::Ask,
            Switch::Prepare { position, epoch } => {
                Self::Prepare { position: (*position).into(), epoch: epoch.as_u64() }
            }
            Switch::Ready { epoch } => Self::Ready { epoch: epoch.as_u64() },
            Switch::HandOver { position, epoch, stops } => {
                Self::HandOver { position: (*position).into(), epoch: epoch.as_u64(), stops: *stops }
            }
            Switch::CallOff { why } => Self::CallOff { why: obstacle_code(*why) },
            Switch::Refused { why } => Self::Refused { why: obstacle_code(*why) },
        }
    }
}

impl From<SwitchV3> for Switch {
    fn from(step: SwitchV3) -> Self {
        match step {
            SwitchV3::Ask => Self::Ask,
            SwitchV3::Prepare { position, epoch } => {
                Self::Prepare { position: position.into(), epoch: Epoch::from_u64(epoch) }
            }
            SwitchV3::Ready { epoch } => Self::Ready { epoch: Epoch::from_u64(epoch) },
            SwitchV3::HandOver { position, epoch, stops } => {
                Self::HandOver { position: position.into(), epoch: Epoch::from_u64(epoch), stops }
            }
            SwitchV3::CallOff { why } => Self::CallOff { why: obstacle(why) },
            SwitchV3::Refused { why } => Self::Refused { why: obstacle(why) },
        }
    }
}

impl From<Position> for PlaceV3 {
    fn from(position: Position) -> Self {
        let Position { revision, digest } = position;
        Self { epoch: revision.epoch.as_u64(), seq: revision.seq, digest: digest.0 }
    }
}

impl From<PlaceV3> for Position {
    fn from(place: PlaceV3) -> Self {
        let revision = Revision::new(Epoch::from_u64(place.epoch), place.seq);
        Self { revision, digest: Digest(place.digest) }
    }
}

impl From<Modes> for ModesV3 {
    fn from(modes: Modes) -> Self {
        Self { paused: modes.paused.into(), frozen: modes.frozen.into() }
    }
}

impl From<ModesV3> for Modes {
    fn from(modes: ModesV3) -> Self {
        Self { paused: modes.paused.into(), frozen: modes.frozen.into() }
    }
}

impl From<Mode> for ModeV3 {
    fn from(mode: Mode) -> Self {
        Self { changes: mode.changes, on: mode.on }
    }
}

impl From<ModeV3> for Mode {
    fn from(mode: ModeV3) -> Self {
        Self { changes: mode.changes, on: mode.on }
    }
}

fn obstacle_code(why: SwitchObstacle) -> u8 {
    match why {
        SwitchObstacle::NotServing => 1,
        SwitchObstacle::NotInSync => 2,
        SwitchObstacle::Paused => 3,
        SwitchObstacle::UnderWay => 4,
        SwitchObstacle::Disk => 5,
        SwitchObstacle::Witness => 6,
        SwitchObstacle::Stopping => 7,
        SwitchObstacle::TimedOut => 8,
    }
}

/// A reason of a newer program ends a switch as well.
fn obstacle(code: u8) -> SwitchObstacle {
    SwitchObstacle::ALL.into_iter().find(|why| obstacle_code(*why) == code).unwrap_or(SwitchObstacle::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_number_of_its_own() {
        for code in 1..=SwitchObstacle::ALL.len() as u8 {
            assert_eq!(obstacle_code(obstacle(code)), code);
        }
        assert_eq!(obstacle(99), SwitchObstacle::TimedOut);
    }
}
