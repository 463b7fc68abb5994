"""What testing came to, for other programs: JUnit XML, Markdown, GitHub's annotations; and, for people, HTML."""
