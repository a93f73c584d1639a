package command

import (
	"bufio"
	"fmt"
	"strings"
	"unicode/utf8"
)

// column is one of a table.
type column struct {
	head string
	// least is how many characters it can be cut to, 0 for none at all.
	least int
	// weight says which columns are left out where they don't fit, those of the
	// greatest weight first; 0 are never.
	weight int
}

// table writes rows below each other, in lines that are no longer than width. It
// keeps them until flush, which decides on the columns' widths anew.
type table struct {
	to      *bufio.Writer
	width   int
	columns []column
	rows    [][]string
}

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, cells)
}

const between = 2 // spaces between columns

// flush writes the rows, below their columns' names.
func (t *table) flush() {
	widths := t.fit()
	heads := make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i] = c.head
	}
	for _, row := range append([][]string{heads}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			if widths[i] == 0 {
				continue
			}
			if line.Len() > 0 {
				line.WriteString(strings.Repeat(" ", between))
			}
			cell = cut(cell, widths[i])
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(t.to, strings.TrimRight(line.String(), " "))
	}
	t.rows = nil
}

// fit returns how wide each column is, 0 if it is left out.
func (t *table) fit() []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = len(c.head)
		empty := true
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
			empty = empty && row[i] == ""
		}
		if empty && c.weight > 0 && len(t.rows) > 0 {
			widths[i] = 0
		}
	}
	for {
		over := -between - t.width
		least := over
		heaviest := -1
		for i, c := range t.columns {
			if widths[i] == 0 {
				continue
			}
			over += widths[i] + between
			least += between + c.cut(widths[i])
			if c.weight > 0 && (heaviest < 0 || c.weight > t.columns[heaviest].weight) {
				heaviest = i
			}
		}
		switch {
		case over <= 0:
			return widths
		case least > 0 && heaviest >= 0:
			widths[heaviest] = 0
			continue
		}
		// The widest that can be cut is, a little at a time.
		for ; over > 0; over-- {
			widest := -1
			for i, c := range t.columns {
				if widths[i] > c.cut(widths[i]) && (widest < 0 || widths[i] > widths[widest]) {
					widest = i
				}
			}
			if widest < 0 {
				return widths
			}
			widths[widest]--
		}
		return widths
	}
}

// cut returns how narrow the column can be made that is so wide.
func (c *column) cut(width int) int {
	if c.least == 0 {
		return width
	}
	return min(width, c.least)
}

// cut returns text, or its beginning, if it is too long.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:width-1]) + "…"
}
