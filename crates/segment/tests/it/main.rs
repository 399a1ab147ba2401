//! Tests of whole segments: goldens of real Druid, round trips, damage, and real Druid's reader.

mod damage;
mod goldens;
mod nested;
mod projections;
mod real_druid;
mod round_trip;
mod threads;
mod v10;
mod verification;
