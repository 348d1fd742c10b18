//! Places for short texts beside points, none upon another.

/// Tried in this order: steps from the point, in CSS pixels.
const STEPS: [(f64, f64); 12] = [
    (13.0, -9.0),
    (13.0, 9.0),
    (-13.0, -9.0),
    (-13.0, 9.0),
    (0.0, -17.0),
    (0.0, 17.0),
    (22.0, 0.0),
    (-22.0, 0.0),
    (24.0, -20.0),
    (24.0, 20.0),
    (-24.0, -20.0),
    (-24.0, 20.0),
];

/// What is taken already.
#[derive(Debug)]
pub(crate) struct Labels {
    from: (f64, f64),
    to: (f64, f64),
    /// Left, top, right, bottom.
    taken: Vec<[f64; 4]>,
}

impl Labels {
    /// Between two corners.
    pub(crate) fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        Self { from, to, taken: Vec::new() }
    }

    /// Nothing may stand within this distance.
    pub(crate) fn avoid(&mut self, (x, y): (f64, f64), radius: f64) {
        self.taken.push([x - radius, y - radius, x + radius, y + radius]);
    }

    /// The middle of a text of this half size beside the point. Where all around is taken, the first place.
    pub(crate) fn place(&mut self, (x, y): (f64, f64), (wide, high): (f64, f64)) -> (f64, f64) {
        let area = |(dx, dy): (f64, f64)| {
            let further = if dx == 0.0 { 0.0 } else { (wide - 6.0).max(0.0) * dx.signum() };
            let (x, y) = (x + dx + further, y + dy);
            [x - wide, y - high, x + wide, y + high]
        };
        let free = STEPS.into_iter().map(area).find(|area| self.is_free(area));
        let found = free.unwrap_or_else(|| area(STEPS[0]));
        self.taken.push(found);
        (f64::midpoint(found[0], found[2]), f64::midpoint(found[1], found[3]))
    }

    /// The first of these middles where such a text stands free, which is then taken; else the first of all.
    pub(crate) fn claim(&mut self, places: &[(f64, f64)], (wide, high): (f64, f64)) -> Option<(f64, f64)> {
        let area = |&(x, y): &(f64, f64)| [x - wide, y - high, x + wide, y + high];
        let found = places.iter().find(|place| self.is_free(&area(place))).or_else(|| places.first())?;
        self.taken.push(area(found));
        Some(*found)
    }

    fn is_free(&self, [left, top, right, bottom]: &[f64; 4]) -> bool {
        let inside = *left >= self.from.0 && *right <= self.to.0 + 8.0 && *top >= self.from.1 - 8.0;
        let apart = |other: &[f64; 4]| {
            other[2] <= *left || *right <= other[0] || other[3] <= *top || *bottom <= other[1]
        };
        inside && *bottom <= self.to.1 + 4.0 && self.taken.iter().all(apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_one_point_stand_apart_and_inside() {
        let mut labels = Labels::new((0.0, 0.0), (100.0, 100.0));
        labels.avoid((50.0, 50.0), 6.0);
        let places: Vec<_> = (0..4).map(|_| labels.place((50.0, 50.0), (6.0, 8.0))).collect();
        assert_eq!(places, [(63.0, 41.0), (63.0, 59.0), (37.0, 41.0), (37.0, 59.0)]);
        let mut corner = Labels::new((0.0, 0.0), (100.0, 100.0));
        let (x, y) = corner.place((100.0, 0.0), (6.0, 8.0));
        assert!(x <= 102.0 && y >= 0.0, "({x}, {y})");
    }
}
