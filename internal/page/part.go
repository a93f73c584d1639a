package page

import (
	"fmt"
	"strconv"
)

// perPage is how many rows of a list are shown at a time.
const perPage = 50

// part is what is shown of a list: First to Last, from 1, of as many as match.
type part struct {
	thing                 string
	Matching, First, Last int
	// Previous and Next lead to the parts beside it, "" for none.
	Previous, Next string
}

// partOf returns the page of that number, or else the last one, of a list of
// things. at is where a page is.
func partOf(thing string, matching, page int, at func(page int) string) part {
	page = min(page, max(1, (matching+perPage-1)/perPage))
	p := part{thing: thing, Matching: matching, First: (page-1)*perPage + 1, Last: min(page*perPage, matching)}
	if page > 1 {
		p.Previous = at(page - 1)
	}
	if p.Last < matching {
		p.Next = at(page + 1)
	}
	return p
}

// Whole tells that there are no other parts.
func (p part) Whole() bool { return p.Previous == "" && p.Next == "" }

// Range says in words which things are shown.
func (p part) Range() string {
	switch {
	case p.Matching == 0:
		return "No " + p.thing + "s"
	case p.Whole():
		return plural(p.Matching, p.thing)
	}
	return fmt.Sprintf("%s–%s of %s", number(p.First), number(p.Last), plural(p.Matching, p.thing))
}

// parsePage reads the number of a page, which is 1 where it makes no sense.
func parsePage(text string) int {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return n
	}
	return 1
}
