"""The judge: trajectory and rubric in, verdicts and score out. It never plays and never knows which agent played."""
