//! One node's clock: it may be fast or slow, and may jump forwards. It never goes back, like any
//! monotonic clock.

use quorate::raft::Micros;

/// The clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodeClock {
    /// At this world time ..
    world: Micros,
    /// .. it showed this time.
    local: Micros,
    /// It runs faster by this many thousandths; slower, if negative.
    skew: i64,
}

impl NodeClock {
    /// The time that it shows at `world`.
    pub(super) fn at(&self, world: Micros) -> Micros {
        let passed = world.saturating_sub(self.world);
        self.local + self.scaled(passed)
    }

    fn scaled(&self, passed: Micros) -> Micros {
        if self.skew == 0 { passed } else { passed * self.rate() / 1_000 }
    }

    fn rate(&self) -> u64 {
        1_000u64.saturating_add_signed(self.skew).max(1)
    }

    /// The first world time at which it shows `local` or later.
    pub(super) fn world_time(&self, local: Micros) -> Micros {
        let ahead = local.saturating_sub(self.local);
        let ahead =
            if self.skew == 0 { ahead } else { ahead.saturating_mul(1_000).div_ceil(self.rate()) };
        self.world.saturating_add(ahead)
    }

    /// Changes its rate from now on.
    pub(super) fn set_skew(&mut self, world: Micros, skew: i64) {
        *self = NodeClock { world, local: self.at(world), skew };
    }

    /// Makes it jump forwards.
    pub(super) fn jump(&mut self, by: Micros) {
        self.local += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_never_goes_back_and_finds_its_deadlines() {
        let mut clock = NodeClock::default();
        assert_eq!((clock.at(50), clock.world_time(70)), (50, 70));
        clock.set_skew(1_000, -200);
        assert_eq!(clock.at(2_000), 1_800);
        let at = clock.world_time(1_801);
        assert!(clock.at(at) >= 1_801 && clock.at(at - 1) < 1_801, "{at}");
        clock.set_skew(2_000, 150);
        clock.jump(500);
        assert_eq!(clock.at(2_000), 2_300);
        assert_eq!(clock.at(3_000), 3_450);
    }
}
