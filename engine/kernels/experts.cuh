// Which rows go to which expert: what the router decides and products of experts read.
//
// A pair is a row and one of its choices, row * used + choice. Rows of an expert are taken eight at a time, an entry each,
// since a tensor core has room for eight. Entries beyond the last have a count of 0.

#define EXPERT_ROWS 8

struct ExpertEntry {
    int expert, count;
    int pairs[EXPERT_ROWS];
};
