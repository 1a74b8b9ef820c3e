// Package chart draws line charts with two logarithmic axes as SVG: how something grows.
//
// Out of scope: any other kind of chart, and where the numbers come from.
package chart
