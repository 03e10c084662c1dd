"""Results: methods x envs x seeds as run folders that can be stopped and continued, and the tables and figures made of
them."""
