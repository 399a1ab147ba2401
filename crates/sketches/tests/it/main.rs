//! Every complex value against bytes and numbers of a real Druid, and against damaged bytes.

mod damage;
mod golden;
mod model;
mod wikipedia;
